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
        svg.starts_with("<svg") && svg.matches("<polyline").count() == 10,
        "six curves and four records"
    );
}
