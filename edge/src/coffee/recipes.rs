//! What the machine can make: grind, heat, extract, milk, finalise.

use std::time::Duration;

use crate::name::Name;
use crate::order::{AfterCrash, Interruption, Need, Recipe, Step};

/// What a [`CoffeeMachine`](super::CoffeeMachine) can do.
#[must_use]
pub fn capabilities() -> [Name; 5] {
    ["grind", "heat", "extract", "milk", "finalise"].map(name)
}

/// Espresso, americano, cappuccino and latte. Grinding, extracting and pouring milk are not begun again after a crash;
/// heating is. Only heating and grinding can be broken off.
///
/// ```
/// use peaberry_edge::coffee::recipes;
///
/// let latte = recipes().into_iter().find(|recipe| recipe.name.as_str() == "latte").unwrap();
/// let steps: Vec<_> = latte.steps.iter().map(|step| step.name.as_str()).collect();
/// assert_eq!(steps, ["grind", "heat", "extract", "milk", "finalise"]);
/// ```
#[must_use]
pub fn recipes() -> Vec<Recipe> {
    [
        ("espresso", 18, 30, 0),
        ("americano", 18, 180, 0),
        ("cappuccino", 18, 30, 120),
        ("latte", 18, 30, 200),
    ]
    .map(|(drink, beans, water, milk)| recipe(drink, beans, water, milk))
    .into()
}

fn recipe(drink: &str, beans: u64, water: u64, milk: u64) -> Recipe {
    let mut steps = vec![
        step(
            "grind",
            10,
            &[("beans", beans)],
            AfterCrash::GiveUp,
            Interruption::AtOnce,
        ),
        step("heat", 30, &[], AfterCrash::Repeat, Interruption::AtOnce),
        step(
            "extract",
            45,
            &[("water", water)],
            AfterCrash::GiveUp,
            Interruption::AfterStep,
        ),
    ];
    if milk > 0 {
        let needs = [("milk", milk)];
        steps.push(step(
            "milk",
            30,
            &needs,
            AfterCrash::GiveUp,
            Interruption::AfterStep,
        ));
    }
    steps.push(step(
        "finalise",
        10,
        &[],
        AfterCrash::Repeat,
        Interruption::AfterStep,
    ));
    Recipe {
        name: name(drink),
        steps,
    }
}

fn step(
    word: &str,
    seconds_max: u64,
    needs: &[(&str, u64)],
    after_crash: AfterCrash,
    interruption: Interruption,
) -> Step {
    let need = |(resource, units): &(&str, u64)| Need {
        resource: name(resource),
        units: *units,
    };
    Step {
        name: name(word),
        capability: name(word),
        needs: needs.iter().map(need).collect(),
        duration_max: Duration::from_secs(seconds_max),
        after_crash,
        interruption,
    }
}

fn name(word: &str) -> Name {
    Name::new(word).expect("the words here are names")
}
