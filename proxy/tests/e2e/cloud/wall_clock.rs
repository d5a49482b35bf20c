//! The wall clock of a process, which a test sets as a time server or an operator would (libfaketime, Debian's package
//! faketime). Spans go on being measured as they pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The wall clock of a process.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right so far, told by a file in that directory.
    pub fn new(dir: &Path) -> Self {
        let clock = Self { file: dir.join("clock") };
        clock.tell("+0");
        clock
    }

    /// Has the process go by this clock.
    pub fn configure(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &self.file).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    }

    /// Sets it that far ahead of the true time.
    pub fn ahead(&self, span: Duration) {
        self.tell(&format!("+{}", span.as_secs()));
    }

    /// Sets it that far behind the true time.
    pub fn behind(&self, span: Duration) {
        self.tell(&format!("-{}", span.as_secs()));
    }

    fn tell(&self, offset: &str) {
        // The process never finds half of it.
        let unfinished = self.file.with_extension("new");
        std::fs::write(&unfinished, offset).expect("a writable directory");
        std::fs::rename(&unfinished, &self.file).expect("a writable directory");
    }
}

fn library() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").expect("Linux").filter_map(Result::ok);
    let mut places = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    places.find(|place| place.exists()).expect("libfaketime (Debian's package faketime)")
}
