//! What the figures are figures of.

use losskit::{Context, Isa};
use std::path::PathBuf;

/// The CPU's name, as far as the system tells.
pub fn cpu_name() -> String {
    let of_linux = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let of_macos = || {
        let sysctl = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        sysctl.status.success().then(|| String::from_utf8_lossy(&sysctl.stdout).trim().to_owned())
    };
    of_linux.or_else(of_macos).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// 1, 2, 4, ... and all.
pub fn thread_counts() -> Vec<usize> {
    let mut counts: Vec<_> = (0..).map(|power| 1 << power).take_while(|&threads| threads < cores()).collect();
    counts.push(cores());
    counts
}

pub fn isa() -> Isa {
    Context::default().isa()
}

/// Says what runs, and writes it beside criterion's results for `targets.py`.
pub fn report(mode: &str, is_measuring: bool) {
    let (cpu, isa, threads) = (cpu_name(), isa().name(), cores());
    println!("{cpu}, {isa}, {threads} threads, {mode} run");
    if !is_measuring {
        return;
    }
    let began =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let machine = serde_json::json!({ "cpu": cpu, "isa": isa, "threads": threads, "mode": mode, "began": began });
    let folder = criterion_folder();
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("machine.json"), format!("{machine:#}\n")));
    written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

/// Where criterion writes: in cargo's target folder, unless told.
fn criterion_folder() -> PathBuf {
    if let Some(home) = std::env::var_os("CRITERION_HOME") {
        return home.into();
    }
    let executable = std::env::current_exe().expect("an executable has a path");
    let target = executable.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.expect("cargo marks its target folder").join("criterion")
}
