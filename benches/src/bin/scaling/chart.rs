//! Pictures: time for a row-pass over the quantity that grows, both in logarithms.

use std::ops::Range;
use std::path::Path;

use bdl_benches::Error;
use plotters::prelude::*;

use crate::sweep::{METHODS, Sweep};

/// Told apart also by readers who see few colours (Okabe & Ito 2008).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Width of a picture.
const WIDTH: u32 = 640;

/// Width of the column beside the picture that says which line is which.
const LEGEND: u32 = 150;

pub(crate) fn draw(path: &Path, sweep: &Sweep, lines: &[Vec<f64>]) -> Result<(), Error> {
    let lines: Vec<Vec<_>> = lines.iter().map(|times| points(sweep, times)).collect();
    let root = SVGBackend::new(path, (WIDTH, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let xs = range(lines.iter().flatten().map(|p| p.0), 1.0);
    let ys = range(lines.iter().flatten().map(|p| p.1), 1.3);
    // Ticks of our own: those of a logarithmic axis of plotters count the end of a decade twice.
    let sizes = sweep.sizes.iter().map(|&size| size as f64).collect();
    let round = ticks(&ys);
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .margin_right(LEGEND)
        .caption(format!("Microseconds for a row-pass over {}", sweep.name), ("sans-serif", 16))
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(xs.log_scale().with_key_points(sizes), ys.log_scale().with_key_points(round))?;
    chart
        .configure_mesh()
        .x_desc(sweep.name)
        .y_desc("µs")
        .x_label_formatter(&f64::to_string)
        .y_label_formatter(&f64::to_string)
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.into_iter().zip(COLOURS) {
        let marks = line.iter().map(|p| Circle::new(*p, 3, colour.filled())).collect::<Vec<_>>();
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?;
        chart.draw_series(marks)?;
    }
    for (i, (method, colour)) in (0..).zip(METHODS.iter().zip(COLOURS)) {
        let (x, y) = (WIDTH as i32 - LEGEND as i32 + 10, 50 + 18 * i);
        root.draw(&PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)))?;
        root.draw(&Text::new(method.name, (x + 24, y - 5), ("sans-serif", 12)))?;
    }
    Ok(root.present()?)
}

/// 1, 2 and 5 of each decade within a range.
fn ticks(within: &Range<f64>) -> Vec<f64> {
    let decades = within.start.log10().floor() as i32..=within.end.log10().floor() as i32;
    let of_decade = |decade| [1.0, 2.0, 5.0].map(|first| round(first, decade));
    decades.flat_map(of_decade).filter(|tick| within.contains(tick)).collect()
}

/// `first·10^decade`, the nearest number to what is written: 0.02 and not the product of 2 and 0.01.
fn round(first: f64, decade: i32) -> f64 {
    let power = 10_f64.powi(decade.abs());
    if decade < 0 { first / power } else { first * power }
}

fn points(sweep: &Sweep, times: &[f64]) -> Vec<(f64, f64)> {
    let point = |(&size, time): (&usize, &f64)| (size as f64, time / sweep.row_passes(size) * 1e6);
    sweep.sizes.iter().zip(times).map(point).collect()
}

/// From the smallest to the largest value, widened by a factor at both ends.
fn range(values: impl Iterator<Item = f64> + Clone, factor: f64) -> Range<f64> {
    values.clone().fold(f64::INFINITY, f64::min) / factor..values.fold(0.0, f64::max) * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_within_the_range_and_stand_once() {
        assert_eq!(ticks(&(0.04..11.0)), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(&(3.0..4.0)), []);
    }
}
