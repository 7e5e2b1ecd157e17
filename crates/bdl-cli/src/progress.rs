//! Live progress on standard error, if that is a terminal.

use std::io::IsTerminal;
use std::time::Instant;

use bdl_model::TrainProgress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::out::{count, significant};

/// A line that shows how far training is.
#[derive(Debug)]
pub(crate) struct Live {
    bar: ProgressBar,
    start: Instant,
    /// Rows seen by members that are done.
    before: u64,
    /// Rows seen by the member at work.
    now: u64,
    member: usize,
}

impl Live {
    pub(crate) fn new(show: bool) -> Self {
        let target = match show && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // A template that does not parse would only cost the decoration.
        if let Ok(style) = ProgressStyle::with_template("{prefix}  {eta} left  {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar, start: Instant::now(), before: 0, now: 0, member: 0 }
    }

    /// Shows an epoch.
    pub(crate) fn show(&mut self, at: &TrainProgress) {
        let p = &at.progress;
        if at.member != self.member {
            (self.before, self.member) = (self.before + self.now, at.member);
        }
        self.now = p.rows_seen;
        if self.bar.is_hidden() {
            return;
        }
        let member = match at.members {
            1 => String::new(),
            members => format!("member {}/{members} ", at.member + 1),
        };
        let rate = (self.before + self.now) as f64 / self.start.elapsed().as_secs_f64().max(1e-9);
        let valid = p.valid_nll.map_or(String::new(), |nll| format!("  valid {}", significant(nll, 3)));
        self.bar.set_length((at.members * at.epochs) as u64);
        self.bar.set_position((at.member * at.epochs + p.epoch) as u64);
        self.bar.set_prefix(format!("{member}epoch {}/{}", p.epoch, at.epochs));
        // Narrow enough for 80 columns; a terminal with fewer cuts it off.
        self.bar.set_message(format!(
            "{}k rows/s  NLL {}  KL {}  ELBO {}{valid}",
            count((rate / 1000.0).round() as usize),
            significant(p.nll_mean, 3),
            significant(p.kl, 3),
            significant(p.elbo, 4)
        ));
    }

    /// Wipes the line.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
