//! Compiled patterns, the bounded cache of them, and searches that are charged for what they may cost.
//!
//! A search runs on a lazily built automaton that takes some nanoseconds a byte. What it cannot do, or what would make it
//! build states without end, is done by simulation, whose cost is the text's length times the places in the pattern: it is
//! charged as that and refused where it would take a second. So no pattern is slow without being charged for it.

use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::hybrid::regex::{Cache as States, Regex};
use regex_automata::nfa::thompson::pikevm::{Cache as Threads, PikeVM};
use regex_automata::nfa::thompson::{Compiler, Config, NFA, WhichCaptures};
use regex_automata::util::captures::{Captures, GroupInfo};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, Match, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind};
use rhai::NativeCallContext;

use crate::failure::bounded;
use crate::limits::{charge_bytes, leave_inline};
use crate::memory::beside;
use crate::sdk::native::{Fallible, thrown};

/// Bytes of a pattern. The worst known (Unicode classes, negated and without case) take 16 us a byte to parse.
const MAX_PATTERN_BYTES: usize = 2 * 1024;
/// How deep groups nest; parsing recurses.
const MAX_NESTING: u32 = 64;
/// Bytes of one direction's automaton: `\w{20}` takes most of it, since `\w` knows all scripts of the world.
const MAX_AUTOMATON_BYTES: usize = 1024 * 1024;
/// Places in a pattern that can take a character, repetitions counted out.
const MAX_PLACES: usize = 10_000;
/// Capturing groups, the whole match included.
const MAX_GROUPS: usize = 33;
/// Slots of groups over all states of a simulation: 4 MiB for each of its two lists.
const MAX_SLOTS: usize = 512 * 1024;
/// Bytes of a lazy automaton's states in one direction; full, it is emptied, and given up if it fills too fast.
const STATES_BYTES: usize = 512 * 1024;
/// A used automaton is kept with its pattern while it is no larger than this.
const KEPT_STATES_BYTES: usize = 128 * 1024;
/// Bytes of all patterns that are kept, with what may be kept of their automata.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;

/// Steps of one simulation at most, a place and a byte each: 50 to 100 ms at 10 to 20 ns. By so much can it outlast a timeout.
const MAX_STEPS: usize = 5_000_000;
/// Steps that the inline tier may have to bear: its 200 us, with room for a slow machine.
const INLINE_STEPS: usize = 16_000;
/// Places that add the price of a byte to that of each byte of text: states for them are made as they are met.
const PLACES_A_BYTE: usize = 8;
/// What a match costs beside its bytes.
const MATCH_BYTES: usize = 64;

/// A compiled pattern.
pub struct Pattern {
    automaton: Regex,
    simulation: PikeVM,
    places: usize,
    /// What the last search left; searches at the same time make their own.
    states: Mutex<Option<States>>,
    bytes: usize,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<String, Arc<Pattern>> for Bytes {
    fn weight(&self, text: &String, pattern: &Arc<Pattern>) -> u64 {
        (text.len() + pattern.bytes + KEPT_STATES_BYTES) as u64
    }
}

static KEPT: LazyLock<Cache<String, Arc<Pattern>, Bytes>> = LazyLock::new(|| {
    let options = OptionsBuilder::new()
        .weight_capacity(KEPT_BYTES)
        .estimated_items_capacity(128)
        // A shard takes only what fits into its part.
        .shards(1)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, Bytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
});

/// A pattern in use. Whether it is freed here or stays kept, its memory is not the run's.
pub struct InUse(Option<Arc<Pattern>>);

impl Deref for InUse {
    type Target = Pattern;

    fn deref(&self) -> &Pattern {
        self.0.as_ref().expect("it is taken when it is dropped")
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let pattern = self.0.take();
        beside(|| drop(pattern));
    }
}

impl Pattern {
    /// The compiled form of a pattern: kept from an earlier run, or compiled now on a worker.
    pub fn get(call: &NativeCallContext, name: &str, text: &str) -> Fallible<InUse> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(thrown(call, format!("regex::{name}: pattern has at most {MAX_PATTERN_BYTES} bytes")));
        }
        charge_bytes(text.len() + MATCH_BYTES)?;
        if let Some(pattern) = KEPT.get(text) {
            return Ok(InUse(Some(pattern)));
        }
        // It takes some 50 us for the least pattern and some 50 ms for the worst.
        leave_inline()?;
        charge_bytes(text.len() * 100)?;
        let pattern = beside(|| {
            let pattern = Arc::new(Self::compile(text)?);
            KEPT.insert(text.to_owned(), Arc::clone(&pattern));
            Ok(InUse(Some(pattern)))
        });
        let pattern = pattern.map_err(|error: String| thrown(call, format!("regex::{name}: pattern: {error}")))?;
        charge_bytes(pattern.bytes)?;
        Ok(pattern)
    }

    fn compile(text: &str) -> Result<Self, String> {
        let large = || "it is too large: repeat less, or write [0-9A-Za-z_] for \\w and [0-9] for \\d".to_owned();
        let hir = syntax::parse_with(text, &syntax::Config::new().nest_limit(MAX_NESTING))
            .map_err(|error| bounded(&error))?;
        if hir.properties().explicit_captures_len() >= MAX_GROUPS {
            return Err(format!("it has more than {} groups: write (?:...) where none is wanted", MAX_GROUPS - 1));
        }
        let places = places(&hir);
        if places > MAX_PLACES {
            return Err(large());
        }
        let config = Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES));
        let build = |config: Config| Compiler::new().configure(config).build_from_hir(&hir).map_err(|_| large());
        let forward: NFA = build(config.clone())?;
        let reverse = build(config.reverse(true).which_captures(WhichCaptures::None))?;
        if forward.states().len() * forward.group_info().slot_len() > MAX_SLOTS {
            return Err(large());
        }
        let bytes = forward.memory_usage() + reverse.memory_usage();
        // Each state of the lazy automaton costs up to its places to make, so it must serve as many bytes.
        let config = dfa::Config::new()
            .unicode_word_boundary(true)
            .cache_capacity(STATES_BYTES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(2))
            .minimum_bytes_per_state(Some(places.max(10)));
        let dfa = |config: dfa::Config, nfa| {
            DFA::builder().configure(config).build_from_nfa(nfa).map_err(|error| bounded(&error))
        };
        let backwards = dfa(config.clone().match_kind(MatchKind::All), reverse)?;
        let forwards = dfa(config, forward.clone())?;
        Ok(Self {
            automaton: Regex::builder().build_from_dfas(forwards, backwards),
            simulation: PikeVM::new_from_nfa(forward).map_err(|error| bounded(&error))?,
            places,
            states: Mutex::new(None),
            bytes,
        })
    }

    /// Its groups.
    pub fn groups(&self) -> &GroupInfo {
        self.simulation.get_nfa().group_info()
    }
}

/// The places of a pattern at which a match can stand: one a character or class, each time that it is repeated.
fn places(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        // A class of Unicode is a small automaton of its own; of those that share a first byte two can be met at once.
        HirKind::Class(Class::Unicode(class)) if !class.is_ascii() => 2,
        HirKind::Class(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            places(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
        HirKind::Capture(capture) => places(&capture.sub).saturating_add(1),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().fold(0, |sum: usize, part| sum.saturating_add(places(part)))
        }
    }
}

/// A text that is searched for a pattern.
pub struct Search<'a> {
    call: &'a NativeCallContext<'a>,
    name: &'a str,
    pattern: &'a Pattern,
    states: Option<States>,
    threads: Option<Threads>,
    simulated: bool,
}

impl<'a> Search<'a> {
    /// Charges for going through the text once.
    pub fn begin(call: &'a NativeCallContext<'a>, name: &'a str, pattern: &'a Pattern, text: &str) -> Fallible<Self> {
        if text.len().saturating_mul(pattern.places) > INLINE_STEPS {
            leave_inline()?;
        }
        charge_bytes(text.len().saturating_mul(1 + pattern.places / PLACES_A_BYTE))?;
        let kept = pattern.states.lock().unwrap_or_else(PoisonError::into_inner).take();
        let states = Some(kept.unwrap_or_else(|| beside(|| pattern.automaton.create_cache())));
        Ok(Self { call, name, pattern, states, threads: None, simulated: false })
    }

    /// The first match of the input.
    pub fn find(&mut self, input: &Input<'_>) -> Fallible<Option<Match>> {
        charge_bytes(MATCH_BYTES)?;
        if !self.simulated
            && let Some(states) = &mut self.states
        {
            if let Ok(found) = beside(|| self.pattern.automaton.try_search(states, input)) {
                return Ok(found);
            }
            // Charged once for the rest of the text; what searches go through again is bounded by the clock, which the
            // charge above looks at.
            self.simulated = true;
            self.charge_steps(input.get_span().len(), 1)?;
        }
        let mut slots = [None; 2];
        let simulation = &self.pattern.simulation;
        let threads = self.threads.get_or_insert_with(|| simulation.create_cache());
        let found = simulation.search_slots(threads, input, &mut slots);
        Ok(found.and_then(|pattern| Some(Match::new(pattern, slots[0]?.get()..slots[1]?.get()))))
    }

    /// The groups of a match.
    pub fn groups(&mut self, text: &str, found: Match) -> Fallible<Captures> {
        let simulation = &self.pattern.simulation;
        let mut groups = simulation.create_captures();
        // Each step copies the slots of its thread.
        self.charge_steps(found.len(), 1 + groups.slots().len() / 8)?;
        let threads = self.threads.get_or_insert_with(|| simulation.create_cache());
        let input = Input::new(text).span(found.span()).anchored(Anchored::Yes);
        simulation.search(threads, &input, &mut groups);
        Ok(groups)
    }

    fn charge_steps(&self, len: usize, weight: usize) -> Fallible<()> {
        let steps = len.saturating_mul(self.pattern.places).saturating_mul(weight);
        if steps > INLINE_STEPS {
            leave_inline()?;
        }
        if steps > MAX_STEPS {
            let name = self.name;
            let advice = r"repeat less in it, and write (?-u:\b) for \b where words are ASCII";
            let message = format!("regex::{name}: pattern takes too long on {len} bytes of text: {advice}");
            return Err(thrown(self.call, message));
        }
        charge_bytes(steps)
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        let states = self.states.take();
        beside(|| {
            if let Some(states) = states
                && states.memory_usage() <= KEPT_STATES_BYTES
            {
                *self.pattern.states.lock().unwrap_or_else(PoisonError::into_inner) = Some(states);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pattern: &str) -> usize {
        places(&syntax::parse(pattern).unwrap())
    }

    #[test]
    fn places_count_what_can_match_at_once() {
        for (pattern, expected) in [
            ("abc", 3),
            ("[0-9]{4}-[0-9]{2}", 7),
            (r"\w+", 2),
            ("a{0,4000000000}", 4_000_000_000),
            ("(?:(?:a{1000}){1000}){1000}", 1_000_000_000),
        ] {
            assert_eq!(counted(pattern), expected, "{pattern}");
        }
        assert_eq!(counted("(?:(?:a{4000000000}){4000000000}){4000000000}"), usize::MAX);
    }

    #[test]
    fn what_is_too_large_is_refused_and_what_people_write_is_not() {
        let groups = "(a)".repeat(MAX_GROUPS);
        let nested = format!("{}a{}", "(?:".repeat(100), ")".repeat(100));
        for pattern in [
            "(a{1000}){1000}",
            "((((a{100}){100}){100}){100}){100}",
            "a{0,4000000000}",
            r"\w{1000}",
            &groups,
            &nested,
            &"(?i)[^\\w\\s\\pL\\pN]".repeat(100),
        ] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
        for pattern in [
            r"^\w{3,16}$",
            r"(?i)^[a-z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$",
            r"(?<year>\d{4})-(?<month>\d{2})-(?<day>\d{2})",
            r"\b[A-Z]+\b",
            "",
        ] {
            assert!(Pattern::compile(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn the_cache_of_patterns_is_bounded() {
        for number in 0..2_000 {
            let text = format!("x{{{}}}y{number}", number % 50);
            KEPT.insert(text.clone(), Arc::new(Pattern::compile(&text).unwrap()));
        }
        assert!(KEPT.weight() <= KEPT_BYTES && KEPT.len() > 50, "{} patterns", KEPT.len());
    }
}
