//! The plugin's program: the environment and standard input in, JSON and an exit code out.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use cni::{Answer, Environment, Plugin, STDIN_MAX};

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let environment = Environment {
        command: std::env::var_os("CNI_COMMAND"),
        container_id: std::env::var_os("CNI_CONTAINERID"),
        netns: std::env::var_os("CNI_NETNS"),
        ifname: std::env::var_os("CNI_IFNAME"),
        args: std::env::var_os("CNI_ARGS"),
        trace_parent: std::env::var_os("TRACEPARENT"),
    };
    if environment.command.as_ref().is_none_or(|command| command.is_empty()) {
        eprintln!("{}", cni::about(&name));
        return ExitCode::SUCCESS;
    }
    // Whoever asks at a terminal which versions there are has nothing to say.
    let silent = environment.command == Some("VERSION".into()) && io::stdin().is_terminal();
    let stdin = if silent { Vec::new() } else { read() };
    let (text, code) = match cni::answer(Plugin::called(&name), &environment, &stdin) {
        Answer::Done(text) => (text, ExitCode::SUCCESS),
        Answer::Failed(text) => (Some(text), ExitCode::FAILURE),
    };
    match text.map_or(Ok(()), |text| io::stdout().write_all(format!("{text}\n").as_bytes())) {
        Ok(()) => code,
        Err(error) => {
            eprintln!("kubenet: cannot write the answer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Vec<u8> {
    let mut stdin = Vec::new();
    let limit = u64::try_from(STDIN_MAX).unwrap_or(u64::MAX).saturating_add(1);
    if let Err(error) = io::stdin().lock().take(limit).read_to_end(&mut stdin) {
        // What is missing then is refused like any other text that is no configuration.
        eprintln!("kubenet: cannot read standard input: {error}");
    }
    stdin
}
