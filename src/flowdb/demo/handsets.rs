//! Handset models, told apart by the first eight digits of the IMEI (TAC). Brands are invented.

use super::dice::{Dice, Purpose};

/// What a handset can do; each kind can do what the ones before it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Calls and texts.
    Basic,
    /// Also a camera and slow data.
    Feature,
    /// Everything.
    Smart,
}

impl Kind {
    /// As in the column `hnd_type`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Basic => "Basic",
            Kind::Feature => "Feature",
            Kind::Smart => "Smart",
        }
    }
}

/// A model.
#[derive(Debug)]
pub struct Model {
    /// The type allocation code: eight digits.
    pub tac: u32,
    /// Who makes it.
    pub brand: &'static str,
    /// What it is called.
    pub name: String,
    /// What it can do.
    pub kind: Kind,
    /// Height and width of the display, in pixels.
    pub display: [u32; 2],
    /// Height, width, depth in millimetres and weight in grams.
    pub size: [u32; 4],
    /// The operating system's vendor, name and version; of smartphones only.
    pub system: Option<[&'static str; 3]>,
    /// How common it is, relative to the others.
    pub weight: u32,
}

/// How many models there are.
pub const MODELS: usize = 120;

/// All models.
pub fn models(seed: u64) -> Vec<Model> {
    (0..MODELS).map(|index| model(index, seed)).collect()
}

fn model(index: usize, seed: u64) -> Model {
    const BRANDS: [&str; 6] = ["Ostrel", "Kamboro", "Velox Mobile", "Lumeno", "Dakari", "Simplo"];
    const SYSTEMS: [[&str; 3]; 4] = [
        ["Lumeno", "LumeOS", "4.2"],
        ["Open Pocket Alliance", "Pocket", "9"],
        ["Open Pocket Alliance", "Pocket", "11"],
        ["Dakari", "DakOS", "2.0"],
    ];
    let mut dice = Dice::new(seed, Purpose::Handsets, index as u64, 0);
    let kind = [Kind::Basic, Kind::Feature, Kind::Smart][dice.weighted(&[25, 25, 50])];
    let width = match kind {
        Kind::Basic => 128,
        Kind::Feature => 240,
        Kind::Smart => 360 * (1 + dice.below(3)),
    };
    Model {
        tac: 35_000_000 + index as u32 * 7_919,
        brand: BRANDS[index % BRANDS.len()],
        name: format!("{}{}", ["A", "N", "X", "Duo "][dice.below(4) as usize], 100 + 10 * index),
        kind,
        display: [width * if kind == Kind::Smart { 2 } else { 1 }, width],
        size: [100 + dice.below(60), 45 + dice.below(35), 7 + dice.below(9), 80 + dice.below(120)],
        system: (kind == Kind::Smart).then(|| *dice.one_of(&SYSTEMS)),
        // A few models are everywhere.
        weight: 1 + 400 / (index as u32 + 4),
    }
}
