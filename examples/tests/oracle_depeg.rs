//! The depeg of the real minutes, where they are there.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn the_real_depeg_moves_the_median_and_not_the_agreed_price() {
    let folder = std::env::var_os("PEABERRY_DATA").map(PathBuf::from);
    let file = folder.map(|folder| folder.join("prices/btc_markets_2023-03-09_14.csv"));
    let Some(file) = file.filter(|file| file.exists()) else {
        println!(
            "skipped: PEABERRY_DATA names no folder with prices/btc_markets_2023-03-09_14.csv"
        );
        return;
    };
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap().join("examples");
    let picture = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(folder.join("oracle_depeg"))
        .arg("--prices")
        .arg(file)
        .arg("--svg")
        .arg(picture.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let svg = std::fs::read_to_string(picture.path()).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.matches("<polyline").count() == 18,
        "in each of two runs four markets, an answer and four records"
    );
    // The day was not named: it is the file's worst.
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with("2023-03-11: "), "{told}");
}

/// Names from a file may hold anything, and a file may have any day and more markets than there are colours.
#[test]
fn any_file_with_a_dollar_market_makes_a_picture() {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap().join("examples");
    let (file, picture) = (
        tempfile::NamedTempFile::new().unwrap(),
        tempfile::NamedTempFile::new().unwrap(),
    );
    let names = (0..10).map(|at| format!("<m&{at}>_btc_usd"));
    let mut table = format!("time_utc,{}\n", names.collect::<Vec<_>>().join(","));
    for minute in 0..30 {
        let prices = (0..10).map(|at| format!("{}.5", 60_000 + at + minute));
        let prices = prices.collect::<Vec<_>>().join(",");
        table += &format!("2024-06-01 10:{minute:02}:00,{prices}\n");
    }
    std::fs::write(file.path(), table).unwrap();
    let output = Command::new(folder.join("oracle_depeg"))
        .arg("--prices")
        .arg(file.path())
        .arg("--svg")
        .arg(picture.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let svg = std::fs::read_to_string(picture.path()).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 2 * (10 + 1 + 4));
    assert!(svg.contains("&lt;m&amp;9&gt;_btc_usd") && !svg.contains("<m&"));
}
