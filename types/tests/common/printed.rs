//! Whether a secret shows in what was printed, in any of the forms in which bytes are printed.
//! A part of it is enough.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A run of a secret that is no chance, in bytes. Digests are printed by as many.
const RUN: usize = 6;
/// What every form of a run has at least, in bytes.
const KEY: usize = 6;
/// Shorter numbers are met by chance.
const NUMBER_DIGITS: usize = 12;

const BASE64: [&[u8; 2]; 2] = [b"+/", b"-_"];

/// Secrets to look for. A run of them must not be likely by itself, as zeros are.
pub struct Secrets {
    names: Vec<String>,
    /// By how they begin: whether something does, and then which of them.
    begins: Vec<bool>,
    forms: BTreeMap<[u8; KEY], Vec<(Vec<u8>, usize)>>,
}

impl Secrets {
    pub fn new<N: Into<String>, B: AsRef<[u8]>>(secrets: impl IntoIterator<Item = (N, B)>) -> Self {
        let mut found = Self {
            names: Vec::new(),
            begins: vec![false; 1 << 16],
            forms: BTreeMap::new(),
        };
        for (name, bytes) in secrets {
            found.add(name.into(), bytes.as_ref());
        }
        found
    }

    fn add(&mut self, name: String, bytes: &[u8]) {
        assert!(
            bytes.len() >= 8,
            "{name} is too short to be told from chance"
        );
        self.names.push(name);
        // Some crates print numbers from the other end.
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        for bytes in [bytes, &reversed] {
            let runs = bytes.windows(RUN).flat_map(forms_of);
            for form in runs.chain(bytes.windows(8).flat_map(numbers_of)) {
                self.begins[begin(&form)] = true;
                let key = *form.first_chunk().expect("a form is longer");
                let which = self.names.len() - 1;
                self.forms.entry(key).or_default().push((form, which));
            }
        }
    }

    /// The name of a secret that shows in `text`, and what is there.
    pub fn shown(&self, text: &[u8]) -> Option<(&str, String)> {
        // Lists are printed with blanks, or a line for each item.
        let dense: Vec<u8> = text
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        self.within(text).or_else(|| self.within(&dense))
    }

    fn within(&self, text: &[u8]) -> Option<(&str, String)> {
        text.windows(KEY).enumerate().find_map(|(at, window)| {
            if !self.begins[begin(window)] {
                return None;
            }
            let forms = self.forms.get(window)?;
            let (_, which) = forms
                .iter()
                .find(|(form, _)| text[at..].starts_with(form))?;
            let around = &text[at.saturating_sub(200)..text.len().min(at + 100)];
            let around = String::from_utf8_lossy(around).into_owned();
            Some((self.names[*which].as_str(), around))
        })
    }
}

fn begin(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

fn forms_of(run: &[u8]) -> Vec<Vec<u8>> {
    let list = |of: fn(&u8) -> String| run.iter().map(of).collect::<Vec<_>>().join(",");
    let hex: String = run.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![
        run.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        run.escape_ascii().to_string().into_bytes(),
        list(u8::to_string).into_bytes(),
        list(|b| format!("{b:x}")).into_bytes(),
        list(|b| format!("{b:02x}")).into_bytes(),
        list(|b| format!("{b:02X}")).into_bytes(),
        list(|b| format!("{b:#x}")).into_bytes(),
        list(|b| format!("{b:#04x}")).into_bytes(),
    ];
    forms.extend(BASE64.map(|last| base64(run, last)));
    forms
}

/// Six bytes are eight digits; one run of them begins where a group does.
fn base64(run: &[u8], last: &[u8; 2]) -> Vec<u8> {
    let bits = run
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digit = |n: u32| match (bits >> (42 - 6 * n)) as u8 & 63 {
        upper @ 0..26 => b'A' + upper,
        lower @ 26..52 => b'a' + lower - 26,
        number @ 52..62 => b'0' + number - 52,
        other => last[usize::from(other) - 62],
    };
    (0..8).map(digit).collect()
}

/// The limbs of a field element, say.
fn numbers_of(word: &[u8]) -> Option<Vec<u8>> {
    let word = u64::from_le_bytes(word.try_into().expect("eight bytes")).to_string();
    (word.len() >= NUMBER_DIGITS).then(|| word.into_bytes())
}

/// What a derived `Debug` would show.
#[derive(Debug)]
#[allow(dead_code, reason = "it is printed")]
struct Twin<'a> {
    of: &'a str,
    secret: &'a [u8],
}

/// Wants nothing of a secret to show where a value is printed; and that the same search finds
/// it where `Debug` is derived.
pub fn hidden(name: &str, secret: &[u8], value: &dyn Debug) {
    let secrets = Secrets::new([(name, secret)]);
    let twin = Twin { of: name, secret };
    for control in [format!("{twin:?}"), format!("{twin:#?}")] {
        assert!(
            secrets.shown(control.as_bytes()).is_some(),
            "the search is blind: {control}"
        );
    }
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        if let Some((name, around)) = secrets.shown(text.as_bytes()) {
            panic!("{name} shows in {around}");
        }
    }
}

/// Every form of a secret is found, wherever it is cut.
pub fn finds_all_forms() {
    let secret: Vec<u8> = (0..32).map(|n| (n * 37 + 11) as u8).collect();
    let secrets = Secrets::new([("it", &secret)]);
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let whole = |last| {
        secret
            .chunks_exact(6)
            .flat_map(|run| base64(run, last))
            .collect::<Vec<_>>()
    };
    let limbs: Vec<u64> = secret
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        .collect();
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let forms = [
        secret.clone(),
        hex.clone().into_bytes(),
        hex[20..40].to_uppercase().into_bytes(),
        format!("{secret:?}").into_bytes(),
        format!("{secret:#?}").into_bytes(),
        format!("{secret:02x?}").into_bytes(),
        format!("{secret:#x?}").into_bytes(),
        format!("{backwards:?}").into_bytes(),
        format!("{limbs:?}").into_bytes(),
        secret.escape_ascii().to_string().into_bytes(),
        whole(b"+/"),
        whole(b"-_"),
    ];
    for form in forms {
        let around = [b"begin ", &form[..], b" end"].concat();
        assert!(
            secrets.shown(&around).is_some(),
            "{}",
            String::from_utf8_lossy(&form)
        );
    }
    let other = format!(
        "{:?} {:?}",
        [1_u8; 64],
        hex.replace(['a', '1', '3', 'c'], "0")
    );
    assert_eq!(secrets.shown(other.as_bytes()), None);
    assert_eq!(base64(b"Mankin", b"+/"), b"TWFua2lu");
}
