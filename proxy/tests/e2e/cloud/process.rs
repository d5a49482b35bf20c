//! The binary: as a process that serves, and as a command that ends by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use super::PATIENCE;

/// The binary, ready for arguments, without anything of the surroundings.
pub fn picloud() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_picloud"));
    command.env_clear();
    command
}

/// The same command, in a process that may open so many files at first, and so many after it has asked for more.
pub fn with_open_files(command: &Command, soft: u32, hard: u32) -> Command {
    let mut shell = Command::new("/bin/sh");
    let limits = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$@\"");
    shell.args(["-c", &limits, "sh"]).arg(command.get_program()).args(command.get_args());
    shell.env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// The same command, by another path of the binary.
pub fn by_path(command: &Command, path: &Path) -> Command {
    let mut other = Command::new(path);
    other.args(command.get_args()).env_clear();
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// Whether a command succeeds, and what it says on both outputs.
pub fn run(command: &mut Command, input: &str) -> (bool, String) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // One that does not read its input has nothing to do with it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let mut said = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    (child.wait().expect("a child").success(), said)
}

/// A process that serves; killed when dropped.
pub struct Process {
    child: Child,
    announcement: Vec<String>,
    output: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts it and waits until it has announced where it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut process = Self::spawn(command);
        process.read_announcement();
        process
    }

    /// Starts it and waits for nothing.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (lines, output) = mpsc::channel();
        // Reads to the end, so that the process never writes in vain.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Self { child, announcement: Vec::new(), output: Mutex::new(output) }
    }

    fn read_announcement(&mut self) {
        // Its last paragraph tells how to sign in.
        while !self.announcement.last().is_some_and(|line| line.starts_with("Sign in") || line.contains("valid once")) {
            let line = self.output.get_mut().expect("nobody else has it").recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no announcement ({error}) but {:?}", self.announcement));
            self.announcement.push(line);
        }
    }

    pub fn announced(&self, word: &str) -> Option<&str> {
        self.announcement.iter().find_map(|line| line.strip_prefix(word)).map(str::trim)
    }

    /// The origin of the internal listener.
    pub fn internal(&self) -> &str {
        let lines = self.announcement.iter().filter_map(|line| line.strip_prefix("listening "));
        lines.filter_map(|line| line.trim_end().strip_suffix(" internal")).next().expect("such a listener")
    }

    pub fn address(&self, scheme: &str) -> SocketAddr {
        let listener = self.announced(&format!("listening {scheme}://")).expect("such a listener");
        listener.parse().expect("an address")
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Lets no file of the process grow beyond so many bytes from now on; `None`: as far as there is room.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let limit = rustix::process::Rlimit { current: bytes, maximum: None };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, limit).expect("the process is a child");
    }

    /// Memory that it has in use.
    pub fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells of it");
        line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until the process and all that have its output have ended.
    pub fn ended(&mut self) -> ExitStatus {
        // Its output ends with it, and waiting for that has a bound.
        let output = self.output.get_mut().expect("nobody else has it");
        loop {
            match output.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("a child"),
                Err(RecvTimeoutError::Timeout) => panic!("the process does not end"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
