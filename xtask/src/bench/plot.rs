//! docs/benchmarks.svg: for each measure with a goal, how many times better we are than Kafka as it comes.
//!
//! On a logarithmic scale, so that twice as good and half as good are equally far from the middle. Deliberately not here:
//! any figure that is not in the table.

use std::fmt::Write;

use super::figures::{Figures, Goal, MEASURES, Measure};
use super::server::Peer;

const WIDTH: f64 = 860.0;
/// Where the bars begin, and how much room they have.
const LEFT: f64 = 330.0;
const ROOM: f64 = 470.0;
const ROW: f64 = 24.0;
const TOP: f64 = 58.0;
/// The ends of the scale, as powers of ten.
const FROM: f64 = -1.0;
const TO: f64 = 3.0;

/// The plot.
pub fn svg(figures: &Figures) -> String {
    let bars: Vec<(&Measure, f64)> =
        MEASURES.iter().filter_map(|measure| Some((measure, times_better(figures, measure)?))).collect();
    let height = TOP + ROW * bars.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">Times better than Kafka as it comes (black line: the goal)</text>\n"
    );
    for power in FROM as i32..=TO as i32 {
        let (x, label) = (place(f64::from(power)), 10f64.powi(power));
        let colour = if power == 0 { "#444" } else { "#ddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{label} ×</text>",
            TOP - 6.0,
            height - 12.0,
            TOP - 12.0
        );
    }
    for (row, (measure, times)) in bars.iter().enumerate() {
        bar(&mut svg, TOP + ROW * row as f64, measure, *times, figures.is_met(measure) == Some(true));
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, y: f64, measure: &Measure, times: f64, met: bool) {
    let (from, to) = (place(0.0), place(times.log10()));
    let (x, width) = (from.min(to), (to - from).abs().max(1.0));
    let colour = if met { "#2f7d4f" } else { "#c0392b" };
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#222\">{}</text>",
        LEFT - 8.0,
        y + 13.0,
        measure.title.replace("10,000 groups × 10 partitions", "10,000 groups"),
        y + 2.0,
        from.max(to) + 6.0,
        y + 13.0,
        super::figures::short(times),
    );
    let goal = match measure.goal {
        Some(Goal::TimesAtLeast(times)) => times,
        Some(Goal::TimesAtMost(times)) => 1.0 / times,
        Some(Goal::AtMost(_)) | None => return, // a goal of its own, not one beside Kafka
    };
    let x = place(goal.log10());
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"black\" stroke-width=\"2\"/>",
        y + 18.0
    );
}

/// Where a power of ten lies, kept within the scale.
fn place(power: f64) -> f64 {
    LEFT + (power.clamp(FROM, TO) - FROM) / (TO - FROM) * ROOM
}

/// Our ratio to Kafka, turned so that more is better; none without a goal or a figure. Less than a thousandth of Kafka's
/// counts as a thousandth.
fn times_better(figures: &Figures, measure: &Measure) -> Option<f64> {
    let ratio = figures.ratio(measure.key, Peer::Kafka)?;
    match measure.goal? {
        Goal::TimesAtLeast(_) => Some(ratio),
        Goal::TimesAtMost(_) | Goal::AtMost(_) => Some(1.0 / ratio.max(0.001)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figure;
    use super::*;

    #[test]
    fn better_is_always_to_the_right_and_goals_lie_where_they_are() {
        let mut figures = Figures::default();
        for (measure, ours, kafka) in [("produce", 10.0, 100.0), ("latency-p50", 1.0, 10.0), ("start", 0.0, 5000.0)] {
            for (peer, value) in [(Peer::Pagemark, ours), (Peer::Kafka, kafka)] {
                figures.0.push(Figure { peer, round: 1, measure, value, client_cpu_s: None });
            }
        }
        let times = |key| times_better(&figures, MEASURES.iter().find(|measure| measure.key == key).unwrap());
        assert_eq!((times("produce"), times("latency-p50"), times("start")), (Some(0.1), Some(10.0), Some(1000.0)));
        assert_eq!((times("consume"), times("consume-cpu")), (None, None));
        let svg = svg(&figures);
        assert_eq!(svg.matches("<rect x=").count(), 3, "{svg}");
        assert!(svg.contains("#c0392b") && svg.contains("#2f7d4f"), "one goal is missed, two are met: {svg}");
        assert_eq!((place(-5.0), place(0.0), place(9.0)), (LEFT, LEFT + ROOM / 4.0, LEFT + ROOM));
    }
}
