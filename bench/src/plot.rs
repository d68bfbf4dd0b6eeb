//! A figure over another as a picture: lines in an SVG file.
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Room for what is written beside the axes.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot<'a> {
    /// What stands above it.
    pub title: &'a str,
    /// What goes to the right.
    pub x: &'a str,
    /// How it goes to the right.
    pub scale: Scale,
    /// What goes up; from zero.
    pub y: &'a str,
    /// The points of the line.
    pub points: &'a [(f64, f64)],
    /// Heights that are marked, and what they are.
    pub marks: &'a [(f64, &'a str)],
}

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By factors: for few points, above zero, each of which is named.
    Factors,
    /// Evenly, from zero: for many points.
    Even,
}

impl Plot<'_> {
    /// The picture; `None` if there is no point that can be drawn.
    pub fn svg(&self) -> Option<String> {
        let mut points: Vec<(f64, f64)> =
            self.points.iter().copied().filter(|(x, y)| *x > 0.0 && x.is_finite() && y.is_finite()).collect();
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let ((first, _), (last, _)) = (*points.first()?, *points.last()?);
        let heights = points.iter().map(|(_, y)| y).chain(self.marks.iter().map(|(y, _)| y));
        let top = round_up(heights.copied().fold(0.0, f64::max));
        let share = |x: f64| match self.scale {
            Scale::Factors => (x / first).ln() / (last / first).ln().max(f64::MIN_POSITIVE),
            Scale::Even => x / last,
        };
        let right = |x: f64| LEFT + share(x) * (WIDTH - LEFT - RIGHT);
        let up = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
        let ticks: Vec<f64> = match self.scale {
            Scale::Factors => points.iter().map(|(x, _)| *x).collect(),
            Scale::Even => (0..=4).map(|step| (last * f64::from(step) / 4.0 * 10.0).round() / 10.0).collect(),
        };

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, WIDTH / 2.0, TOP / 2.0, "middle", self.title);
        text(&mut svg, WIDTH / 2.0, HEIGHT - 10.0, "middle", self.x);
        text(&mut svg, LEFT, TOP - 8.0, "end", self.y);
        for x in ticks {
            text(&mut svg, right(x), HEIGHT - BOTTOM + 18.0, "middle", &format!("{x}"));
        }
        for step in 0..=4 {
            let y = top * f64::from(step) / 4.0;
            text(&mut svg, LEFT - 6.0, up(y) + 4.0, "end", &format!("{y}"));
            across(&mut svg, up(y), "stroke=\"#ddd\"");
        }
        for (y, name) in self.marks {
            across(&mut svg, up(*y), "stroke=\"#d62728\" stroke-dasharray=\"4\"");
            text(&mut svg, WIDTH - RIGHT, up(*y) - 4.0, "end", name);
        }
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", right(*x), up(*y))).collect();
        // A String takes anything.
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for (x, y) in points.iter().filter(|_| self.scale == Scale::Factors) {
            let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"#1f77b4\"/>", right(*x), up(*y));
        }
        Some(svg + "</svg>\n")
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
}

fn across(svg: &mut String, y: f64, how: &str) {
    let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" {how}/>", WIDTH - RIGHT);
}

/// The next number of one digit and zeros, or half of it.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    (most / unit * 2.0).ceil() / 2.0 * unit
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLOT: Plot =
        Plot { title: "a < b", x: "lines", scale: Scale::Factors, y: "orders/s", points: &[], marks: &[] };

    #[test]
    fn points_go_from_left_to_right_and_upwards() {
        let points = &[(100.0, 50.0), (1.0, 100.0), (10.0, 0.0)];
        let svg = Plot { points, ..PLOT }.svg().unwrap();
        assert!(svg.contains("<polyline points=\"80.0,40.0 390.0,370.0 700.0,205.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.matches("<circle").count() == 3);
    }

    #[test]
    fn time_goes_evenly_and_a_mark_is_as_high_as_it_says() {
        let points = &[(10.0, 50.0), (20.0, 100.0), (40.0, 100.0)];
        let svg = Plot { scale: Scale::Even, points, marks: &[(50.0, "half")], ..PLOT }.svg().unwrap();
        assert!(svg.contains("<polyline points=\"235.0,205.0 390.0,40.0 700.0,40.0\""), "{svg}");
        assert!(svg.contains("y1=\"205.0\" x2=\"700.0\" y2=\"205.0\" stroke=\"#d62728\"") && svg.contains(">half<"));
        assert!(svg.contains(">30<") && !svg.contains("<circle"), "{svg}");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let svg = |points| Plot { points, ..PLOT }.svg();
        assert_eq!(svg(&[]), None);
        assert_eq!(svg(&[(0.0, 1.0), (1.0, f64::NAN)]), None);
        assert!(!svg(&[(5.0, 0.0)]).unwrap().contains("NaN"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        assert_eq!(
            [7_421.0, 8_000.0, 12.0, 0.3, 0.0].map(round_up),
            [7_500.0, 8_000.0, 15.0, 0.30000000000000004, 1.0]
        );
    }
}
