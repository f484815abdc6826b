//! `probe pause`, `probe serve`, and `probe machine`, PID 1 of a machine of the lab.

mod machine;
mod reap;

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let result = match mode.as_str() {
        "pause" => reap::until_asked_to_end(),
        "serve" => serve(std::env::args().nth(2)),
        "machine" => machine::run(&std::env::args().nth(2).unwrap_or_default()),
        _ => Err(io::Error::other("usage: probe pause|serve [NAME]|machine NAME")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe {mode}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// By the hostname, where no other name is given.
fn serve(name: Option<String>) -> io::Result<()> {
    let hostname = || std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_or_else(hostname, Ok)?;
    // As PID 1 of a pod it would outlive SIGTERM, which has no default action there.
    std::thread::scope(|scope| {
        let signals = reap::block()?;
        scope.spawn(move || {
            let ended = reap::wait(&signals);
            std::process::exit(i32::from(ended.is_err()));
        });
        probe::serve::serve(name.trim(), probe::PORT)
    })
}
