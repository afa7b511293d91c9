//! Plots as SVG: lines over two axes, and grouped bars. Small on purpose: axes, ticks,
//! series, marks and a legend, with sizes that read well in a page and on paper.

use core::fmt::Write as _;

/// Width of a plot.
const WIDTH: f64 = 760.0;
/// Height of the area between the axes.
const AREA: f64 = 300.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
/// Below the area: ticks and the title of the axis.
const BELOW: f64 = 52.0;
/// Height of a line of the legend.
const LEGEND_LINE: f64 = 20.0;
/// Width of a character of 12 px, on average.
const CHARACTER: f64 = 6.7;

/// What is drawn, without the element around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    svg: String,
    height: f64,
}

/// A picture of one panel or several, one below the other.
#[must_use]
pub fn picture(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(|panel| panel.height).sum();
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0}' \
         width='{WIDTH}' height='{height:.0}' font-family='Helvetica, Arial, sans-serif' \
         font-size='12' role='img'><rect width='100%' height='100%' fill='#fff'/>"
    );
    let mut top = 0.0;
    for panel in panels {
        if top > 0.0 {
            let _ = write!(
                svg,
                "<g transform='translate(0 {top:.1})'>{}</g>",
                panel.svg
            );
        } else {
            svg.push_str(&panel.svg);
        }
        top += panel.height;
    }
    svg + "</svg>\n"
}

/// Colours that colour-blind readers tell apart (Okabe and Ito, 2008), on white.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#b8860b",
];

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A line.
    Line,
    /// A line with a dot at every point.
    Dots,
    /// Pairs of points, each a bar of its own along the x axis.
    Spans,
    /// Crosses.
    Crosses,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

/// A plot over two axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    /// Title.
    pub title: String,
    /// Title of the x axis, with unit.
    pub x: String,
    /// Title of the y axis, with unit.
    pub y: String,
    /// Names of whole x values, for categories.
    pub x_names: Vec<String>,
    /// Series.
    pub series: Vec<Series>,
    /// Vertical lines with a word each.
    pub marks: Vec<(f64, String)>,
    /// Whether the y axis begins at 0.
    pub from_zero: bool,
    /// Lower end of the y axis at most, upper end at least.
    pub y_range: Option<(f64, f64)>,
}

/// Grouped bars: a group per name, a bar per series in it, along the x axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// Title.
    pub title: String,
    /// Title of the x axis, with unit.
    pub x: String,
    /// Names of the groups.
    pub groups: Vec<String>,
    /// Name of each series, and its value per group.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Plot {
    /// As a part of a picture.
    #[must_use]
    pub fn panel(&self) -> Panel {
        let xs = || {
            self.series
                .iter()
                .flat_map(|s| s.points.iter().map(|p| p.0))
        };
        let ys = || {
            self.series
                .iter()
                .flat_map(|s| s.points.iter().map(|p| p.1))
        };
        let marks = self.marks.iter().map(|(x, _)| *x);
        let (mut x_low, mut x_high) = ends(xs().chain(marks));
        if !self.x_names.is_empty() {
            (x_low, x_high) = (-0.5, self.x_names.len() as f64 - 0.5);
        }
        let (mut y_low, mut y_high) = ends(ys());
        if self.from_zero {
            y_low = y_low.min(0.0);
        }
        if let Some((low, high)) = self.y_range {
            (y_low, y_high) = (y_low.min(low), y_high.max(high));
        }
        let x_axis = Axis::new(x_low, x_high, LEFT, WIDTH - RIGHT, self.x_names.is_empty());
        let y_axis = Axis::new(y_low, y_high, TOP + AREA, TOP, true);
        let legend = Legend::new(self.series.iter().map(|s| s.name.as_str()));
        let mut svg = titled(&self.title);
        y_axis.lines(&mut svg);
        if self.x_names.is_empty() {
            x_axis.labels_below(&mut svg, TOP + AREA);
        } else {
            self.names_below(&mut svg, &x_axis);
        }
        axis_titles(&mut svg, &self.x, &self.y);
        for (at, word) in &self.marks {
            let x = x_axis.at(*at);
            let _ = write!(
                svg,
                "<line x1='{x:.1}' y1='{TOP}' x2='{x:.1}' y2='{:.1}' stroke='#c00' \
                 stroke-dasharray='4 3'/>",
                TOP + AREA
            );
            text(&mut svg, x + 4.0, TOP + 12.0, "start", "#c00", word);
        }
        for (index, series) in self.series.iter().enumerate() {
            draw(&mut svg, series, &x_axis, &y_axis, colour(index));
        }
        legend.draw(&mut svg, TOP + AREA + BELOW);
        Panel {
            svg,
            height: TOP + AREA + BELOW + legend.height(),
        }
    }

    /// Names of categories, slanted where they would touch.
    fn names_below(&self, svg: &mut String, axis: &Axis) {
        let room = (WIDTH - LEFT - RIGHT) / self.x_names.len() as f64;
        let chars = (room / CHARACTER).max(3.0) as usize;
        for (index, name) in self.x_names.iter().enumerate() {
            let x = axis.at(index as f64);
            text(
                svg,
                x,
                TOP + AREA + 18.0,
                "middle",
                "#333",
                &cut(name, chars),
            );
        }
    }
}

impl Bars {
    /// As a part of a picture.
    #[must_use]
    pub fn panel(&self) -> Panel {
        let bar = if self.series.len() > 1 { 12.0 } else { 18.0 };
        let group = bar * self.series.len() as f64 + 10.0;
        let area = group * self.groups.len() as f64 + 6.0;
        let left = 150.0;
        let most = self
            .series
            .iter()
            .flat_map(|(_, values)| values.iter().copied());
        let axis = Axis::new(0.0, ends(most).1.max(1e-9), left, WIDTH - 90.0, true);
        let names = self.series.iter().map(|(name, _)| name.as_str());
        let legend = Legend::new(names.filter(|_| self.series.len() > 1));
        let mut svg = titled(&self.title);
        for tick in &axis.ticks {
            let x = axis.at(*tick);
            let _ = write!(
                svg,
                "<line x1='{x:.1}' y1='{TOP}' x2='{x:.1}' y2='{:.1}' stroke='#e4e4e4'/>",
                TOP + area
            );
        }
        axis.labels_below(&mut svg, TOP + area);
        let middle = (left + WIDTH - 90.0) / 2.0;
        text(
            &mut svg,
            middle,
            TOP + area + 40.0,
            "middle",
            "#333",
            &self.x,
        );
        for (at, name) in self.groups.iter().enumerate() {
            let top = TOP + 6.0 + group * at as f64;
            let middle = top + bar * self.series.len() as f64 / 2.0 + 4.0;
            text(&mut svg, left - 8.0, middle, "end", "#333", &cut(name, 21));
            for (index, (_, values)) in self.series.iter().enumerate() {
                let value = values.get(at).copied().unwrap_or(0.0);
                let y = top + bar * index as f64;
                let width = (axis.at(value) - left).max(0.0);
                let _ = write!(
                    svg,
                    "<rect x='{left}' y='{y:.1}' width='{width:.1}' height='{:.1}' fill='{}'/>",
                    bar - 2.0,
                    colour(index)
                );
                text(
                    &mut svg,
                    left + width + 5.0,
                    y + bar - 3.0,
                    "start",
                    "#555",
                    &figure(value),
                );
            }
        }
        legend.draw(&mut svg, TOP + area + BELOW);
        Panel {
            svg,
            height: TOP + area + BELOW + legend.height(),
        }
    }
}

fn draw(svg: &mut String, series: &Series, x: &Axis, y: &Axis, colour: &str) {
    let at = |(a, b): &(f64, f64)| (x.at(*a), y.at(*b));
    match series.style {
        Style::Line | Style::Dots => {
            let path: Vec<_> = series
                .points
                .iter()
                .map(at)
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            let _ = write!(
                svg,
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='2' \
                 stroke-linejoin='round'/>",
                path.join(" ")
            );
            if series.style == Style::Dots {
                for (x, y) in series.points.iter().map(at) {
                    let _ = write!(
                        svg,
                        "<circle cx='{x:.1}' cy='{y:.1}' r='4' fill='{colour}'/>"
                    );
                }
            }
        }
        Style::Spans => {
            for pair in series.points.chunks_exact(2) {
                let ((x1, y1), (x2, _)) = (at(&pair[0]), at(&pair[1]));
                let width = (x2 - x1).max(1.5);
                let _ = write!(
                    svg,
                    "<rect x='{x1:.1}' y='{:.1}' width='{width:.1}' height='7' fill='{colour}' \
                     fill-opacity='0.75'/>",
                    y1 - 3.5
                );
            }
        }
        Style::Crosses => {
            for (x, y) in series.points.iter().map(at) {
                let _ = write!(
                    svg,
                    "<path d='M{:.1} {:.1}l7 7m0 -7l-7 7' stroke='{colour}' stroke-width='1.8'/>",
                    x - 3.5,
                    y - 3.5
                );
            }
        }
    }
}

const fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Smallest and largest; 0 to 1 of nothing.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high { (0.0, 1.0) } else { (low, high) }
}

/// A linear axis with round ticks.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(low: f64, high: f64, from: f64, to: f64, widen: bool) -> Self {
        let high = if high - low < 1e-9 { low + 1.0 } else { high };
        let step = round_step((high - low) / 6.0);
        let (low, high) = if widen {
            ((low / step).floor() * step, (high / step).ceil() * step)
        } else {
            (low, high)
        };
        let count = ((high - low) / step).round() as usize;
        Self {
            low,
            high,
            from,
            to,
            ticks: (0..=count).map(|i| low + step * i as f64).collect(),
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + (self.to - self.from) * share
    }

    /// Lines across and labels on the left, for a y axis.
    fn lines(&self, svg: &mut String) {
        for tick in &self.ticks {
            let y = self.at(*tick);
            let _ = write!(
                svg,
                "<line x1='{LEFT}' y1='{y:.1}' x2='{:.1}' y2='{y:.1}' stroke='#e4e4e4'/>",
                WIDTH - RIGHT
            );
            text(svg, LEFT - 8.0, y + 4.0, "end", "#555", &figure(*tick));
        }
    }

    fn labels_below(&self, svg: &mut String, bottom: f64) {
        for tick in &self.ticks {
            let x = self.at(*tick);
            text(svg, x, bottom + 18.0, "middle", "#555", &figure(*tick));
        }
    }
}

/// 1, 2 or 5 times a power of ten, not below `raw`.
fn round_step(raw: f64) -> f64 {
    let mut power = 1.0;
    while power > raw {
        power /= 10.0;
    }
    while power * 10.0 <= raw {
        power *= 10.0;
    }
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= raw).unwrap_or(power)
}

/// A number on an axis.
#[must_use]
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = if size >= 1e9 {
        (value / 1e9, "G")
    } else if size >= 1e6 {
        (value / 1e6, "M")
    } else if size >= 1e4 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    let text = if scaled.abs() >= 100.0 || (scaled - scaled.round()).abs() < 1e-9 {
        format!("{scaled:.0}")
    } else if scaled.abs() >= 1.0 {
        format!("{scaled:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        format!("{scaled:.4}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    };
    let text = if text == "-0" || text.is_empty() {
        "0".to_owned()
    } else {
        text
    };
    format!("{text}{unit}")
}

struct Legend<'a> {
    lines: Vec<Vec<(usize, &'a str)>>,
}

impl<'a> Legend<'a> {
    fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let mut lines: Vec<Vec<(usize, &str)>> = Vec::new();
        let mut used = f64::INFINITY;
        for (index, name) in names.enumerate() {
            let width = entry_width(name);
            if used + width > WIDTH - LEFT {
                lines.push(Vec::new());
                used = 0.0;
            }
            used += width;
            if let Some(line) = lines.last_mut() {
                line.push((index, name));
            }
        }
        Self { lines }
    }

    fn height(&self) -> f64 {
        self.lines.len() as f64 * LEGEND_LINE + 6.0
    }

    fn draw(&self, svg: &mut String, top: f64) {
        for (row, line) in self.lines.iter().enumerate() {
            let (mut x, y) = (LEFT - 40.0, top + LEGEND_LINE * row as f64);
            for (index, name) in line {
                let _ = write!(
                    svg,
                    "<rect x='{x:.1}' y='{:.1}' width='12' height='12' fill='{}'/>",
                    y - 2.0,
                    colour(*index)
                );
                text(svg, x + 18.0, y + 8.0, "start", "#333", name);
                x += entry_width(name);
            }
        }
    }
}

fn entry_width(name: &str) -> f64 {
    34.0 + CHARACTER * name.chars().count() as f64
}

fn titled(title: &str) -> String {
    format!(
        "<text x='{LEFT}' y='24' font-size='15' font-weight='600' fill='#111'>{}</text>",
        escape(title)
    )
}

fn axis_titles(svg: &mut String, x: &str, y: &str) {
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    text(svg, middle, TOP + AREA + 40.0, "middle", "#333", x);
    let _ = write!(
        svg,
        "<text transform='translate(18 {:.1}) rotate(-90)' text-anchor='middle' \
         fill='#333'>{}</text>",
        TOP + AREA / 2.0,
        escape(y)
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, what: &str) {
    let _ = write!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}' fill='{colour}'>{}</text>",
        escape(what)
    );
}

fn cut(name: &str, chars: usize) -> String {
    if name.chars().count() <= chars {
        return name.to_owned();
    }
    let kept: String = name.chars().take(chars.saturating_sub(1)).collect();
    kept + "…"
}

/// Text that may stand in SVG and HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_figures_are_round() {
        for (raw, step) in [
            (0.03, 0.05),
            (1.2, 2.0),
            (7.0, 10.0),
            (420.0, 500.0),
            (1.0, 1.0),
        ] {
            assert!((round_step(raw) - step).abs() < step * 1e-9, "{raw}");
        }
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.25, "0.25"),
            (1500.0, "1500"),
            (12_345.0, "12.35k"),
            (2e6, "2M"),
            (99.5, "99.5"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_plot_of_anything_is_well_formed() {
        for points in [vec![], vec![(1.0, f64::NAN)], vec![(0.0, 5.0), (3.0, 9.0)]] {
            let plot = Plot {
                title: "<&'\">".into(),
                series: vec![Series {
                    name: "a<b".into(),
                    points,
                    style: Style::Dots,
                }],
                marks: vec![(2.0, "crash".into())],
                ..Plot::default()
            };
            let svg = picture(&[plot.panel()]);
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("a<b") && svg.contains("a&lt;b"));
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        }
        let bars = Bars {
            groups: vec!["g".into()],
            series: vec![("s".into(), vec![])],
            ..Bars::default()
        };
        assert!(picture(&[bars.panel(), bars.panel()]).contains("<rect"));
    }
}
