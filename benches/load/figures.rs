//! What is printed.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Durations, to be asked for their quantiles.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, times: Self) {
        self.0.extend(times.0);
    }

    /// In milliseconds.
    pub(crate) fn quantile_ms(&mut self, quantile: f64) -> f64 {
        self.0.sort_unstable();
        let at = (quantile * (self.0.len() - 1) as f64).round() as usize;
        millis(self.0[at])
    }

    /// `p50 … p99 …` in milliseconds.
    pub(crate) fn spread(&mut self) -> String {
        let (p50, p99) = (self.quantile_ms(0.5), self.quantile_ms(0.99));
        format!("p50 {p50:.2} ms, p99 {p99:.2} ms ({} times)", self.0.len())
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

pub(crate) fn title(text: &str) {
    println!("\n{text}");
}

pub(crate) fn line(what: &str, value: &str) {
    println!("  {what:<44} {value}");
}

/// Cores, and how busy they were with other things.
pub(crate) fn machine() {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    title(&format!("machine: {cores} cores, load {load} at the start"));
}

/// How long the disk under this folder takes to make 4 KiB at the end of a file durable.
pub(crate) fn disk_sync(folder: &Path) -> Times {
    let mut file = File::create(folder.join("sync")).unwrap();
    let mut times = Times::default();
    for _ in 0..200 {
        let since = Instant::now();
        file.write_all(&[7; 4_096]).unwrap();
        file.sync_data().unwrap();
        times.add(since.elapsed());
    }
    times
}
