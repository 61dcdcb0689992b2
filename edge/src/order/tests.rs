//! Stories of orders, as transcripts.

use std::time::Duration;

use peaberry_core::{
    Channel, Durability, EffectsBuffer, Input, Instant, MemoryStorage, Protocol, ProtocolId,
    Storage, Subspace,
};
use proptest::prelude::*;

use super::state::{Ended, Open, State, Stored};
use super::*;
use crate::payload::{Notification, OrderPhase, OrderUpdate, Text};
use crate::{EdgeError, Name};

const CHANNEL: Channel = Channel::new(ProtocolId(2001), 0);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn step(text: &str, after_crash: AfterCrash, interruption: Interruption, water: u64) -> Step {
    Step {
        name: name(text),
        capability: name(text),
        needs: vec![Need {
            resource: name("water"),
            units: water,
        }],
        duration_max: Duration::from_secs(10),
        after_crash,
        interruption,
    }
}

/// Heating may be begun again and broken off; pouring neither.
fn tea() -> Recipe {
    Recipe {
        name: name("tea"),
        steps: vec![
            step("heat", AfterCrash::Repeat, Interruption::AtOnce, 0),
            step("pour", AfterCrash::GiveUp, Interruption::AfterStep, 200),
        ],
    }
}

/// A machine without anything around it.
struct Machine {
    storage: MemoryStorage,
    orders: Orders,
    now: Instant,
    settings: OrdersSettings,
}

impl Machine {
    fn with_water(units: u64) -> Self {
        let storage = MemoryStorage::new();
        let settings = OrdersSettings::default();
        let mut this = Self {
            orders: open(&storage, settings),
            storage,
            now: Instant::default(),
            settings,
        };
        let resource = name("water");
        this.turn(vec![Input::Command(OrderCommand::Stock {
            resource,
            units,
        })]);
        this
    }

    fn reopen(&mut self) -> String {
        self.orders = open(&self.storage, self.settings);
        self.turn(vec![])
    }

    fn turn(&mut self, inputs: Vec<Input<OrderCommand>>) -> String {
        let mut buffer = EffectsBuffer::new(CHANNEL);
        for input in inputs {
            let Ok(()) = self.orders.step(self.now, input, &mut buffer.effects());
        }
        let Ok(()) = self.orders.settle(self.now, &mut buffer.effects());
        self.storage
            .commit(buffer.batch(), Durability::Synced)
            .unwrap();
        let at_once = buffer.events().iter();
        let all = at_once.chain(buffer.events_after_commit());
        all.map(word).collect::<Vec<_>>().join(", ")
    }

    fn say(&mut self, command: OrderCommand) -> String {
        self.turn(vec![Input::Command(command)])
    }

    fn place(&mut self, key: &str, recipe: &str) -> String {
        let (key, recipe) = (name(key), name(recipe));
        self.say(OrderCommand::Place { key, recipe })
    }

    fn cancel(&mut self, key: &str) -> String {
        self.say(OrderCommand::Cancel { key: name(key) })
    }

    fn progress(&mut self, run: StepRun, permille: u16) -> String {
        self.say(OrderCommand::Progress { run, permille })
    }

    fn done(&mut self, order: u64, step: u16, attempt: u32) -> String {
        let run = run(order, step, attempt);
        let quality_permille = 900 + step;
        self.say(OrderCommand::Done {
            run,
            quality_permille,
        })
    }

    fn stop(&mut self) -> String {
        let reason = Text::new("smoke");
        self.say(OrderCommand::SafeStop { reason })
    }

    fn wait(&mut self, seconds: u64) -> String {
        self.now += Duration::from_secs(seconds);
        self.turn(vec![Input::Timeout])
    }

    fn water(&self) -> u64 {
        self.orders.free(&name("water"))
    }
}

const fn run(order: u64, step: u16, attempt: u32) -> StepRun {
    StepRun {
        order,
        step,
        attempt,
    }
}

fn open(storage: &MemoryStorage, settings: OrdersSettings) -> Orders {
    let can = [name("heat"), name("pour")];
    let milk = step("froth", AfterCrash::GiveUp, Interruption::AtOnce, 0);
    let latte = Recipe {
        name: name("latte"),
        steps: vec![milk],
    };
    let space = Subspace::of(CHANNEL);
    Orders::open(storage, &space, [tea(), latte], can, settings).unwrap()
}

/// An event in a few words. What is to be done stands in brackets, what a person is told behind its weight.
fn word(event: &OrderEvent) -> String {
    match event {
        OrderEvent::Begin { run, step, .. } => {
            format!("[{} {}.{}]", step.name, run.order, run.attempt)
        }
        OrderEvent::Abort { run } => format!("[abort {}.{}]", run.order, run.attempt),
        OrderEvent::Update(update) => in_words(update),
        OrderEvent::Notify(Notification { level, text, order }) => {
            let order = order.as_ref().map(|key| format!(" of {key}"));
            format!("{level:?}{}: {text}", order.unwrap_or_default()).to_lowercase()
        }
    }
}

fn in_words(update: &OrderUpdate) -> String {
    let mut words = format!("{} {:?}", update.key, update.phase).to_lowercase();
    if let Some((_, step)) = &update.step {
        words += &format!(" {step}");
    }
    if let Some(permille) = update.permille {
        words += &format!(" {permille}");
    }
    if let Some(quality) = update.quality_permille {
        words += &format!(" q{quality}");
    }
    if let Some(reason) = &update.reason {
        words += &format!(" ({reason})");
    }
    words
}

#[test]
fn orders_are_carried_out_one_after_the_other_and_the_worst_step_is_the_quality() {
    let mut machine = Machine::with_water(1000);
    assert_eq!(
        machine.place("a", "tea"),
        "a accepted, a began heat, [heat 1.1]"
    );
    assert_eq!(machine.place("b", "tea"), "b accepted");
    assert_eq!(machine.water(), 600);
    assert_eq!(
        machine.done(1, 0, 1),
        "a done heat q900, a began pour, [pour 1.1]"
    );
    // A report about a step that is not under way is passed over.
    assert_eq!(machine.done(1, 0, 1), "");
    assert_eq!(
        machine.done(1, 1, 1),
        "a done pour q901, a completed q900, info of a: tea is ready, b began heat, [heat 2.1]"
    );
}

/// How far a step is comes from its machine, of what is under way alone, and is told as it comes.
#[test]
fn progress_is_told_of_the_step_under_way_alone() {
    let mut machine = Machine::with_water(1000);
    let (heat, pour) = (run(1, 0, 1), run(1, 1, 1));
    assert_eq!(machine.progress(heat, 100), "");
    machine.place("a", "tea");
    assert_eq!(machine.progress(heat, 500), "a progress heat 500");
    assert_eq!(machine.progress(heat, 7_000), "a progress heat 1000");
    assert_eq!(machine.progress(pour, 500), "");
    machine.done(1, 0, 1);
    assert_eq!(machine.progress(heat, 600), "");
    assert_eq!(machine.progress(pour, 0), "a progress pour 0");
    machine.done(1, 1, 1);
    assert_eq!(machine.progress(pour, 999), "");
    machine.place("b", "tea");
    machine.reopen();
    assert_eq!(machine.progress(run(2, 0, 1), 500), "", "an earlier start");
    assert_eq!(machine.progress(run(2, 0, 2), 500), "b progress heat 500");
}

#[test]
fn a_step_that_fails_ends_its_order_and_somebody_is_told() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    let failed = OrderCommand::Failed {
        run: run(1, 0, 1),
        reason: Text::new("no power at the heater"),
    };
    assert_eq!(
        machine.say(failed),
        "a failed (no power at the heater), warning of a: tea failed"
    );
}

#[test]
fn a_key_is_carried_out_once_however_often_it_comes() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    assert_eq!(machine.place("a", "tea"), "a began heat");
    assert_eq!(
        machine.place("a", "latte"),
        "a rejected (the key was used for tea)"
    );
    machine.done(1, 0, 1);
    machine.done(1, 1, 1);
    assert_eq!(machine.place("a", "tea"), "a completed q900");
    assert_eq!(machine.reopen(), "a completed q900");
    assert_eq!(machine.place("a", "tea"), "a completed q900");
    assert_eq!(machine.water(), 800);
    // Once it is known that the end is known, it is not told again.
    machine.say(OrderCommand::Told { key: name("a") });
    assert_eq!(machine.reopen(), "");
}

#[test]
fn what_cannot_be_done_is_rejected_with_the_reason() {
    let mut machine = Machine::with_water(300);
    assert_eq!(
        machine.place("a", "soup"),
        "a rejected (recipe soup is unknown)"
    );
    assert_eq!(
        machine.place("a", "latte"),
        "a rejected (the machine cannot froth)"
    );
    machine.place("a", "tea");
    assert_eq!(
        machine.place("b", "tea"),
        "b rejected (not enough water: refill it and order again)"
    );
    let resource = name("water");
    machine.say(OrderCommand::Stock {
        resource,
        units: 900,
    });
    assert_eq!(machine.place("b", "tea"), "b accepted");
}

#[test]
fn less_than_was_promised_fails_the_orders_that_find_it_gone() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    let resource = name("water");
    machine.say(OrderCommand::Stock {
        resource,
        units: 100,
    });
    assert_eq!(
        machine.done(1, 0, 1),
        "a done heat q900, a failed (water ran out before pour), warning of a: tea failed"
    );
}

#[test]
fn a_cancellation_waits_for_a_step_that_cannot_be_broken_off() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    assert_eq!(
        machine.cancel("a"),
        "[abort 1.1], a cancelled, info of a: tea was cancelled"
    );
    assert_eq!(machine.water(), 1000);
    assert_eq!(machine.cancel("a"), "a cancelled");
    assert_eq!(machine.cancel("z"), "z rejected (there is no such order)");
    machine.place("b", "tea");
    machine.done(2, 0, 1);
    // It pours already, and that was the last step: the tea is ready, not cancelled.
    assert_eq!(machine.cancel("b"), "");
    assert_eq!(
        machine.done(2, 1, 1),
        "b done pour q901, b completed q900, info of b: tea is ready"
    );
}

#[test]
fn power_lost_in_a_step_repeats_it_or_is_told_as_unknown() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    assert_eq!(machine.reopen(), "a began heat, [heat 1.2]");
    // What the first attempt's controller still says no longer counts.
    assert_eq!(machine.done(1, 0, 1), "");
    machine.done(1, 0, 2);
    assert_eq!(
        machine.reopen(),
        "a unknown (power was lost during pour), \
         warning of a: tea may or may not be done: have a look"
    );
    assert_eq!(machine.water(), 800);
    assert_eq!(
        machine.place("a", "tea"),
        "a unknown (power was lost during pour)"
    );
}

#[test]
fn a_first_input_does_not_meet_what_the_crash_left() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    machine.done(1, 0, 1);
    machine.orders = open(&machine.storage, machine.settings);
    assert_eq!(
        machine.done(1, 1, 1),
        "a unknown (power was lost during pour), \
         warning of a: tea may or may not be done: have a look"
    );
}

#[test]
fn a_safe_stop_ends_everything_and_lasts_until_resumed() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    machine.place("b", "tea");
    assert_eq!(
        machine.stop(),
        "[abort 1.1], a stopped (smoke), warning of a: tea was stopped, \
         b stopped (smoke), warning of b: tea was stopped, critical: stopped: smoke"
    );
    assert_eq!(machine.water(), 1000);
    machine.reopen();
    assert_eq!(
        machine.place("c", "tea"),
        "c rejected (the machine is stopped: smoke)"
    );
    machine.say(OrderCommand::Resume);
    machine.reopen();
    assert_eq!(
        machine.place("c", "tea"),
        "c accepted, c began heat, [heat 3.1]"
    );
}

#[test]
fn a_step_that_takes_too_long_fails_its_order_alone() {
    let mut machine = Machine::with_water(1000);
    machine.place("a", "tea");
    machine.place("b", "tea");
    assert_eq!(machine.wait(9), "");
    assert_eq!(
        machine.wait(1),
        "[abort 1.1], a failed (the step took too long), warning of a: tea failed, \
         b began heat, [heat 2.1]"
    );
}

#[test]
fn orders_wait_in_bounded_number_and_the_oldest_keys_are_forgotten() {
    let mut machine = Machine::with_water(1_000_000);
    machine.settings = OrdersSettings {
        open_max: 2,
        remembered_max: 1,
    };
    machine.reopen();
    machine.place("a", "tea");
    machine.place("b", "tea");
    assert_eq!(
        machine.place("c", "tea"),
        "c rejected (2 orders wait already)"
    );
    machine.cancel("a");
    machine.cancel("b");
    assert_eq!(machine.orders.standing(&name("a")), None);
    machine.reopen();
    // Numbers go on, so no report of an old step can be taken for one of a new order.
    assert_eq!(
        machine.place("a", "tea"),
        "a accepted, a began heat, [heat 3.1]"
    );
}

/// Whoever places and cancels, with nothing ever made, does not have made again what was.
#[test]
fn orders_that_were_never_begun_push_out_none_that_was_made() {
    let mut machine = Machine::with_water(1_000_000);
    machine.settings.remembered_max = 16;
    machine.reopen();
    machine.place("real", "tea");
    machine.done(1, 0, 1);
    machine.done(1, 1, 1);
    // The first waits on, so that what comes behind it never begins.
    machine.place("slow", "tea");
    for count in 0..100 {
        if count == 50 {
            // After a restart it is still known which is which; the first is begun again.
            machine.reopen();
        }
        machine.place(&format!("sham-{count}"), "tea");
        machine.cancel(&format!("sham-{count}"));
    }
    assert_eq!(machine.place("real", "tea"), "real completed q900");
    assert_eq!(machine.orders.orders.len(), 4, "two of a hundred are kept");
    assert_eq!(machine.place("sham-99", "tea"), "sham-99 cancelled");
    assert_eq!(machine.place("sham-97", "tea"), "sham-97 accepted");
}

#[test]
fn an_end_that_is_told_is_forgotten_before_one_that_is_not() {
    let mut machine = Machine::with_water(1_000_000);
    machine.settings.remembered_max = 2;
    machine.reopen();
    for (key, number) in [("a", 1), ("b", 2), ("c", 3)] {
        machine.place(key, "tea");
        machine.done(number, 0, 1);
        machine.done(number, 1, 1);
        if key == "b" {
            machine.say(OrderCommand::Told { key: name("b") });
        }
    }
    let is_known = |key| machine.orders.standing(&name(key)).is_some();
    assert_eq!(["a", "b", "c"].map(is_known), [true, false, true]);
}

#[test]
fn the_highest_number_is_remembered_so_that_none_is_given_twice() {
    let mut machine = Machine::with_water(1_000_000);
    machine.settings.remembered_max = 1;
    machine.reopen();
    for key in ["a", "b", "c"] {
        machine.place(key, "tea");
    }
    for key in ["c", "b", "a"] {
        machine.cancel(key);
    }
    machine.reopen();
    assert_eq!(
        machine.place("d", "tea"),
        "d accepted, d began heat, [heat 4.1]"
    );
}

#[test]
fn a_journal_of_a_later_build_is_refused_by_its_version() {
    let machine = Machine::with_water(0);
    let mut batch = peaberry_core::Batch::new();
    let orders = Subspace::of(CHANNEL).within(b"o");
    orders.put(&mut batch, &1_u64.to_be_bytes(), &[2]);
    machine.storage.commit(&batch, Durability::Synced).unwrap();
    let settings = OrdersSettings::default();
    let opened = Orders::open(
        &machine.storage,
        &Subspace::of(CHANNEL),
        Recipes::default(),
        [],
        settings,
    );
    assert!(matches!(
        opened,
        Err(EdgeError::Version {
            found: 2,
            supported: 1,
            ..
        })
    ));
}

fn stored() -> impl Strategy<Value = Stored> {
    let state = prop_oneof![
        (0..2_u16, 0..9_u32, any::<bool>(), 0..=1000_u16).prop_map(
            |(index, attempt, is_cancelled, quality_permille)| State::Open(Open {
                steps: tea().steps,
                index,
                attempt,
                is_cancelled,
                quality_permille,
            })
        ),
        (
            4..=9_u64,
            proptest::option::of(0..=1000_u16),
            any::<[bool; 2]>(),
            proptest::option::of(".{0,9}")
        )
            .prop_map(|(phase, quality_permille, [was_begun, is_told], reason)| {
                State::Ended(Ended {
                    phase: OrderPhase::from_number(phase).unwrap(),
                    quality_permille,
                    reason: reason.as_deref().map(Text::new),
                    was_begun,
                    is_told,
                })
            }),
    ];
    ("[a-z]{1,9}", state).prop_map(|(key, state)| Stored {
        key: name(&key),
        recipe: name("tea"),
        state,
    })
}

proptest! {
    #[test]
    fn stored_orders_come_back(order in stored()) {
        let mut bytes = Vec::new();
        order.encode_into(&mut bytes);
        let mut reader = peaberry_core::wire::Reader::new(&bytes);
        prop_assert_eq!(Stored::decode_from(&mut reader), Ok(order));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn any_bytes_are_an_order_or_refused(
        order in stored(), at: prop::sample::Index, byte: u8, noise in proptest::collection::vec(any::<u8>(), 0..99),
    ) {
        decode_any_order_bytes(&noise);
        let mut bytes = vec![1];
        order.encode_into(&mut bytes);
        let at = at.index(bytes.len());
        decode_any_order_bytes(&bytes[..at]);
        bytes[at] = byte;
        decode_any_order_bytes(&bytes);
    }
}

/// A latte of five steps, and power lost at every place there is: before and behind the commit of each beginning and each end.
/// The commit of a step's end is that of the next one's beginning.
#[test]
fn a_latte_is_brewed_once_wherever_power_is_lost() {
    use crate::coffee;

    let steps = coffee::recipes()
        .into_iter()
        .find(|it| it.name == name("latte"));
    let steps = steps.unwrap().steps;
    assert_eq!(steps.len(), 5);
    for committed in 0..=steps.len() + 1 {
        for loses_a_turn in [false, true] {
            let mut bar = Bar::new();
            let next = |bar: &Bar| match bar.begun.is_empty() {
                true => bar.place(),
                false => bar.done(),
            };
            for _ in 0..committed {
                bar.turn(Some(next(&bar)), true);
            }
            if loses_a_turn {
                bar.turn(Some(next(&bar)), false);
            }
            let last = bar.begun.last().copied();
            let case = format!("{committed} turns, and one lost: {loses_a_turn}");

            bar.restart();
            let again = bar.turn(None, true);
            let phase = bar.phase();
            let under_way = committed.checked_sub(1).and_then(|at| steps.get(at));
            match under_way.map(|step| step.after_crash) {
                None if committed == 0 => assert_eq!((phase, again.len()), (None, 0), "{case}"),
                None => assert_eq!(
                    (phase, again.len()),
                    (Some(OrderPhase::Completed), 0),
                    "{case}"
                ),
                Some(AfterCrash::Repeat) => {
                    assert_eq!(phase, Some(OrderPhase::Began), "{case}");
                    let [run] = again.as_slice() else {
                        panic!("{case}: {again:?}");
                    };
                    let last = last.unwrap();
                    assert_eq!((run.order, run.step), (last.order, last.step), "{case}");
                    assert!(run.attempt > last.attempt, "{case}");
                }
                Some(AfterCrash::GiveUp) => {
                    assert_eq!(
                        (phase, again.len()),
                        (Some(OrderPhase::Unknown), 0),
                        "{case}"
                    );
                }
            }
            // Whoever ordered asks again: it is brewed only if nobody had heard of it.
            let retried = bar.turn(Some(bar.place()), true);
            assert_eq!(retried.len(), usize::from(committed == 0), "{case}");
        }
    }
}

/// A latte of five steps that is cancelled in each of them, and power lost right before or behind the commit of that.
#[test]
fn a_cancelled_latte_ends_once_and_brews_no_further_wherever_power_is_lost() {
    for steps_begun in 1..=5 {
        for is_heard in [false, true] {
            let mut bar = Bar::new();
            bar.turn(Some(bar.place()), true);
            for _ in 1..steps_begun {
                bar.turn(Some(bar.done()), true);
            }
            let cancel = OrderCommand::Cancel { key: name("o") };
            bar.turn(Some(cancel), is_heard);
            let (begun, case) = (bar.begun.len(), format!("step {steps_begun}, {is_heard}"));
            bar.restart();
            bar.turn(None, true);
            while bar.phase().is_some_and(|phase| !phase.is_final()) {
                bar.turn(Some(bar.done()), true);
            }
            let further: Vec<_> = bar.begun.drain(begun..).map(|run| run.step).collect();
            let expected = match (steps_begun, is_heard) {
                // Nobody has heard of the cancellation: it goes on, as far as a crash lets it.
                (2, false) => (OrderPhase::Completed, vec![1, 2, 3, 4]),
                // The last step cannot be broken off, and is the end.
                (5, _) => (OrderPhase::Completed, vec![4]),
                (_, false) => (OrderPhase::Unknown, vec![]),
                (_, true) => (OrderPhase::Cancelled, vec![]),
            };
            assert_eq!((bar.phase().unwrap(), further), expected, "{case}");
            // What it was promised and did not use is free again.
            let milk = bar.orders.free(&name("milk"));
            let used = expected.0 == OrderPhase::Completed || steps_begun >= 4;
            assert_eq!(milk, if used { 800 } else { 1_000 }, "{case}");
            assert!(bar.turn(Some(bar.place()), true).is_empty(), "{case}");
        }
    }
}

/// A machine that brews what coffee shops brew, without anything around it.
struct Bar {
    storage: MemoryStorage,
    orders: Orders,
    begun: Vec<StepRun>,
}

impl Bar {
    fn new() -> Self {
        let storage = MemoryStorage::new();
        let mut bar = Self {
            orders: Self::open(&storage),
            storage,
            begun: Vec::new(),
        };
        for resource in ["water", "beans", "milk"] {
            let (resource, units) = (name(resource), 1_000);
            bar.turn(Some(OrderCommand::Stock { resource, units }), true);
        }
        bar
    }

    fn open(storage: &MemoryStorage) -> Orders {
        use crate::coffee;
        let (recipes, can) = (coffee::recipes(), coffee::capabilities());
        let (space, settings) = (Subspace::of(CHANNEL), OrdersSettings::default());
        Orders::open(storage, &space, recipes, can, settings).unwrap()
    }

    fn restart(&mut self) {
        self.orders = Self::open(&self.storage);
    }

    fn place(&self) -> OrderCommand {
        let (key, recipe) = (name("o"), name("latte"));
        OrderCommand::Place { key, recipe }
    }

    /// The step that began last is done.
    fn done(&self) -> OrderCommand {
        OrderCommand::Done {
            run: *self.begun.last().unwrap(),
            quality_permille: 900,
        }
    }

    fn phase(&self) -> Option<OrderPhase> {
        let standing = self.orders.standing(&name("o"));
        standing.map(|update| update.phase)
    }

    /// What begins; nothing does where power is lost before the commit.
    fn turn(&mut self, command: Option<OrderCommand>, is_committed: bool) -> Vec<StepRun> {
        let mut buffer = EffectsBuffer::new(CHANNEL);
        if let Some(command) = command {
            let input = Input::Command(command);
            let Ok(()) = self
                .orders
                .step(Instant::default(), input, &mut buffer.effects());
        }
        let Ok(()) = self
            .orders
            .settle(Instant::default(), &mut buffer.effects());
        let at_once = buffer.events().iter();
        let at_once = at_once.filter_map(begun).next();
        assert!(at_once.is_none(), "not before it is durable");
        if !is_committed {
            return Vec::new();
        }
        let batch = buffer.batch();
        self.storage.commit(batch, Durability::Synced).unwrap();
        let after = buffer.events_after_commit().iter();
        let begun: Vec<_> = after.filter_map(begun).collect();
        self.begun.extend(&begun);
        begun
    }
}

fn begun(event: &OrderEvent) -> Option<StepRun> {
    match event {
        OrderEvent::Begin { run, .. } => Some(*run),
        _ => None,
    }
}
