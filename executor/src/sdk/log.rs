//! `log::*`, `print` and `debug`: the lines of the run on this thread.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use picloud_shared::clock::{Clock, Timestamp};
use picloud_shared::execution::{LogLevel, LogLine, MAX_LOG_BYTES, MAX_LOG_LINES};
use rhai::{Array, Dynamic, Engine, FuncRegistration, ImmutableString, Map, Module, Shared};

use crate::json;

/// The lines of one run, up to [`MAX_LOG_LINES`] and [`MAX_LOG_BYTES`]; what goes beyond is counted.
pub struct LogBuffer {
    clock: Arc<dyn Clock>,
    lines: Vec<LogLine>,
    bytes: usize,
    dropped: u64,
    /// Lines and bytes of the runs that this one is within, and of those within it: what a request leaves in the log has one bound.
    others: (usize, usize),
}

thread_local! {
    static CURRENT: RefCell<Option<LogBuffer>> = const { RefCell::new(None) };
}

/// Has what `run` logs on this thread collected into a buffer, and gives its lines. Within a run it is a run of its own, which
/// has what its caller left of the bounds, and whose caller logs on afterwards.
pub fn logging<T>(clock: &Arc<dyn Clock>, run: impl FnOnce() -> T) -> (T, Vec<LogLine>) {
    struct Restore(Option<LogBuffer>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let used = CURRENT.with_borrow(|outer| outer.as_ref().map_or((0, 0), LogBuffer::used));
    let mut restore = Restore(CURRENT.replace(Some(LogBuffer::new(Arc::clone(clock), used))));
    let result = run();
    let buffer = CURRENT.take();
    if let (Some(outer), Some(buffer)) = (&mut restore.0, &buffer) {
        let (lines, bytes) = buffer.used();
        outer.others = (lines - outer.lines.len(), bytes - outer.bytes);
    }
    drop(restore);
    (result, buffer.map_or_else(Vec::new, LogBuffer::finish))
}

impl LogBuffer {
    fn new(clock: Arc<dyn Clock>, others: (usize, usize)) -> Self {
        Self { clock, lines: Vec::new(), bytes: 0, dropped: 0, others }
    }

    /// Lines and bytes of this run and of the others.
    fn used(&self) -> (usize, usize) {
        (self.others.0 + self.lines.len(), self.others.1 + self.bytes)
    }

    /// The bytes that another line may have; none when it would be dropped anyway.
    fn room(&self) -> Option<usize> {
        let (lines, bytes) = self.used();
        let room = MAX_LOG_BYTES.saturating_sub(bytes);
        (lines < MAX_LOG_LINES && room > 0).then_some(room)
    }

    fn push(&mut self, level: LogLevel, message: &Dynamic, data: Option<Map>) {
        let Some(room) = self.room() else {
            self.dropped += 1;
            return;
        };
        // One byte more than there is room for tells a text that fits from one that does not.
        let message = json::to_text(message, room + 1);
        let data = match data {
            None => Ok((0, None)),
            Some(data) => {
                let data = Dynamic::from_map(data);
                json::write(&data, room.saturating_sub(message.len())).map(|json| (json.len(), json::to_value(&data)))
            }
        };
        match data {
            Ok((data_bytes, data)) if message.len() <= room => {
                self.bytes += message.len() + data_bytes;
                self.lines.push(LogLine { time: self.now(), level, message, data });
            }
            Err(error) if message.len() <= room && error != json::WriteError::TooLong => {
                // The message is worth having without its data.
                let data = Some(serde_json::Value::String(format!("the data cannot be logged: {error}")));
                self.bytes += message.len();
                self.lines.push(LogLine { time: self.now(), level, message, data });
            }
            _ => self.dropped += 1,
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn finish(mut self) -> Vec<LogLine> {
        if self.dropped > 0 {
            let lines = if self.dropped == 1 { "line was" } else { "lines were" };
            let message = format!(
                "{} more {lines} dropped: an execution logs at most {MAX_LOG_LINES} lines and {MAX_LOG_BYTES} bytes",
                self.dropped
            );
            self.lines.push(LogLine { time: self.now(), level: LogLevel::Warn, message, data: None });
        }
        self.lines
    }
}

/// The time by the clock of the run on this thread; nothing where none runs.
pub fn now() -> Option<Timestamp> {
    CURRENT.with_borrow(|current| current.as_ref().map(LogBuffer::now))
}

fn write(level: LogLevel, message: &Dynamic, data: Option<Map>) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(buffer) = current {
            buffer.push(level, message, data);
        }
    });
}

static MODULE: LazyLock<Shared<Module>> = LazyLock::new(|| {
    let mut module = Module::new();
    for (name, level) in
        [("trace", LogLevel::Trace), ("info", LogLevel::Info), ("warn", LogLevel::Warn), ("error", LogLevel::Error)]
    {
        let function = || FuncRegistration::new(name).with_volatility(true);
        function().set_into_module(&mut module, move |message: Dynamic| write(level, &message, None));
        function().set_into_module(&mut module, move |message: Dynamic, data: Map| write(level, &message, Some(data)));
    }
    module.build_index();
    module.into()
});

/// The module `log`.
pub fn module() -> Shared<Module> {
    Shared::clone(&MODULE)
}

/// Sends `print` and `debug` to the log.
pub fn catch_print(engine: &mut Engine) {
    engine.on_print(|text| write(LogLevel::Info, &text.into(), None));
    engine.on_debug(|text, _source, _position| write(LogLevel::Trace, &text.into(), None));
}

/// `print` and `debug` of arrays and maps, whose standard text has no bound: JSON of at most what a log holds.
pub fn register(module: &mut Module) {
    fn text(value: &Dynamic) -> ImmutableString {
        json::to_text(value, MAX_LOG_BYTES).into()
    }
    for name in ["print", "debug"] {
        let function = || FuncRegistration::new(name).in_global_namespace().with_volatility(true);
        function().set_into_module(module, |array: Array| text(&Dynamic::from_array(array)));
        function().set_into_module(module, |map: Map| text(&Dynamic::from_map(map)));
    }
}
