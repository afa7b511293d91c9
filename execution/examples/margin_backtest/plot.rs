//! Margins over the moves they were for, as a picture.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
/// Room for the scale at the left and the legend above.
const LEFT: f64 = 44.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 14.0;
/// Days drawn as one.
const STEP: usize = 8;
const COLOURS: [&str; 2] = ["#e08a00", "#0b62a4"];

/// The moves in grey, those beyond the last model's margin in red, and each model's margin.
pub fn draw(name: &str, moves: &[f64], models: &[(String, Vec<f64>)]) -> String {
    let margins = models.iter().flat_map(|(_, margins)| margins);
    let top = moves
        .iter()
        .chain(margins)
        .fold(0.0, |a, b| f64::max(a, *b));
    let x = |day: usize| LEFT + (WIDTH - LEFT - 8.0) * day as f64 / moves.len() as f64;
    let y = |part: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part / top;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    let mut add = |text: String| writeln!(svg, "{text}").unwrap();
    for percent in (0..)
        .step_by(3)
        .take_while(|p| f64::from(*p) / 100.0 <= top)
    {
        let at = y(f64::from(percent) / 100.0);
        add(format!(
            "<path d=\"M{LEFT} {at:.1}H{WIDTH}\" stroke=\"#e5e5e5\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }
    let mut bars = String::new();
    for (at, days) in moves.chunks(STEP).enumerate() {
        let most = days.iter().fold(0.0, |a, b| f64::max(a, *b));
        write!(bars, "M{:.1} {:.1}V{:.1}", x(at * STEP), y(0.0), y(most)).unwrap();
    }
    add(format!(
        "<path d=\"{bars}\" stroke=\"#c8c8c8\" fill=\"none\"/>"
    ));
    for ((_, margins), colour) in models.iter().zip(COLOURS) {
        let mut line = String::new();
        for (at, days) in margins.chunks(STEP).enumerate() {
            let mean = days.iter().sum::<f64>() / days.len() as f64;
            let letter = if at == 0 { 'M' } else { 'L' };
            write!(line, "{letter}{:.1} {:.1}", x(at * STEP), y(mean)).unwrap();
        }
        add(format!(
            "<path d=\"{line}\" stroke=\"{colour}\" fill=\"none\" stroke-width=\"1.5\"/>"
        ));
    }
    if let Some((_, margins)) = models.last() {
        let mut dots = String::new();
        for (day, _) in moves
            .iter()
            .zip(margins)
            .enumerate()
            .filter(|(_, (gone, margin))| gone > margin)
        {
            write!(dots, "M{:.1} {:.1}h0", x(day), y(moves[day])).unwrap();
        }
        add(format!(
            "<path d=\"{dots}\" stroke=\"#c0392b\" stroke-width=\"5\" stroke-linecap=\"round\"/>"
        ));
    }
    let mut at = LEFT;
    let legend = [
        (format!("{name}: moves a day"), "#888888"),
        ("beyond the margin".into(), "#c0392b"),
    ];
    let lines = models
        .iter()
        .zip(COLOURS)
        .map(|((name, _), colour)| (name.clone(), colour));
    for (text, colour) in legend.into_iter().chain(lines) {
        add(format!(
            "<rect x=\"{at:.0}\" y=\"12\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"21\">{text}</text>",
            at + 15.0
        ));
        at += 40.0 + 6.2 * text.chars().count() as f64;
    }
    svg + "</svg>\n"
}
