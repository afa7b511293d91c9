//! Plots as PNG, for papers and slides. The font is built in, so that a picture is the same
//! on a machine without any.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Pixels per unit of the SVG.
const SCALE: f32 = 2.0;
/// Most pixels of a side. Nothing that is drawn here comes near it.
const SIDE_MAX: f32 = 16_384.0;

/// Draws SVGs.
#[derive(Debug)]
pub struct Painter {
    options: Options<'static>,
}

impl Painter {
    /// With the font.
    #[must_use]
    pub fn new() -> Self {
        let mut fonts = Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        let family = fonts
            .faces()
            .next()
            .and_then(|face| face.families.first())
            .map(|(name, _)| name.clone());
        if let Some(family) = family {
            // What is asked for is not there; this is what stands in.
            fonts.set_sans_serif_family(&family);
            fonts.set_serif_family(family);
        }
        Self {
            options: Options {
                fontdb: Arc::new(fonts),
                ..Options::default()
            },
        }
    }

    /// An SVG as the bytes of a PNG.
    ///
    /// # Errors
    /// What is wrong with the SVG, in words.
    pub fn paint(&self, svg: &str) -> Result<Vec<u8>, String> {
        let tree = Tree::from_str(svg, &self.options).map_err(|error| error.to_string())?;
        let side = |units: f32| (units * SCALE).ceil();
        let (width, height) = (side(tree.size().width()), side(tree.size().height()));
        if width > SIDE_MAX || height > SIDE_MAX {
            return Err(format!("{width} x {height} pixels are too many"));
        }
        let mut pixels = Pixmap::new(width as u32, height as u32).ok_or("a picture of no size")?;
        resvg::render(
            &tree,
            Transform::from_scale(SCALE, SCALE),
            &mut pixels.as_mut(),
        );
        pixels.encode_png().map_err(|error| error.to_string())
    }
}

impl Default for Painter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(text: &str) -> Pixmap {
        let svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='80' height='20' \
             font-family='Helvetica, Arial, sans-serif'><rect width='100%' height='100%' \
             fill='#fff'/><text x='4' y='14' fill='#000'>{text}</text></svg>"
        );
        let png = Painter::new().paint(&svg).expect("well-formed");
        Pixmap::decode_png(&png).expect("a PNG")
    }

    #[test]
    fn text_is_drawn_without_a_font_of_the_system() {
        let dark = |pixels: &Pixmap| pixels.pixels().iter().filter(|p| p.red() < 128).count();
        let (none, word) = (pixels(""), pixels("p50, ms"));
        assert_eq!((none.width(), none.height()), (160, 40));
        assert_eq!(dark(&none), 0);
        assert!(dark(&word) > 100, "{}", dark(&word));
        assert_ne!(word.data(), pixels("p99, ms").data());
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        for svg in [
            "",
            "<svg",
            "<svg xmlns='http://www.w3.org/2000/svg' width='99999' height='9'/>",
        ] {
            assert!(Painter::new().paint(svg).is_err(), "{svg}");
        }
    }
}
