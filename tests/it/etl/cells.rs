//! Lists of cells: what is sound becomes history, what is not changes nothing.

use super::Rig;

#[test]
fn cells_are_added_moved_and_kept() {
    let rig = Rig::started();
    let there = || {
        rig.ask(
            "SELECT id, version, name, round(ST_X(geom_point)::numeric, 3), round(ST_Y(geom_point)::numeric, 3), date_of_first_service, date_of_last_service
             FROM infrastructure.cells ORDER BY id, version",
        )
    };
    let load = |text: &str, options: &[&str]| {
        let list = rig.file("cells.csv", text);
        rig.run(&[&["cells"], options].concat(), &[&list])
    };
    let said = load("cell_id,Lon,Lat,name\na,-72.5,18.5,First\nb,-72.25,19,\"It's, \"\"b\"\"\"\n", &[]);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (Some(0), "2 cells added, 0 moved, 0 where they were\n"),
        "{said:?}"
    );
    let expected = ["a 0 First -72.500 18.500 - -", "b 0 It's, \"b\" -72.250 19.000 - -"];
    assert_eq!(there(), expected);

    // Nothing is done twice, and nothing is guessed about a cell that has moved.
    let moved = "ID;longitude;latitude;note\na;-72.6;18.5;x\nb;-72.25;19.0000001;y\nc;-73;18;z\n";
    let said = load(moved, &["--delimiter", ";", "--ignore", "note"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("nothing was changed: 1 cells have moved, such as \"a\"; say with --date"),
        "{said:?}"
    );
    assert_eq!(there(), expected);
    let words = ["--delimiter", ";", "--ignore", "note", "--date", "2016-02-01"];
    let said = load(moved, &words);
    assert_eq!(
        (said.status, said.stdout.as_str()),
        (Some(0), "1 cell added, 1 moved, 1 where they were\n"),
        "{said:?}"
    );
    let expected = [
        "a 0 First -72.500 18.500 - 2016-01-31",
        "a 1 First -72.600 18.500 2016-02-01 -",
        "b 0 It's, \"b\" -72.250 19.000 - -",
        "c 0 - -73.000 18.000 - -",
    ];
    assert_eq!(there(), expected);
    let said = load(moved, &words);
    assert_eq!(said.stdout, "0 cells added, 0 moved, 3 where they were\n", "{said:?}");
    assert_eq!(there(), expected);

    // Its history does not run backwards.
    let back = load("id,x,y\na,-72.7,18.5\n", &["--date", "2016-02-01"]);
    assert_eq!(back.status, Some(2), "{back:?}");
    assert!(
        back.stderr.contains("cell \"a\" has moved, and FlowDB knows where it was on 2016-02-01 and after"),
        "{back:?}"
    );

    // All that is wrong in a list, at once.
    let bad = "id,longitude,latitude,height\n,1,1,\nd,1,91,\ne,780000,2050000,\nf,0,0,\ng,west,1,\nh,1,1,tall\ni,1,1,5\ni,2,2,5\nj,1\n";
    let said = load(bad, &[]);
    assert_eq!(said.status, Some(2), "{said:?}");
    for line in [
        "nothing was changed; 8 of its cells are not sound:",
        "  line 2: it has no id",
        "  line 3: cell \"d\": latitude 91 is not in degrees",
        "  line 4: cell \"e\": longitude 780000 is not in degrees: are these metres of a projection",
        "  line 5: cell \"f\" is at 0, 0, in the sea",
        "  line 6: cell \"g\": longitude \"west\" is no number",
        "  line 7: cell \"h\": height \"tall\" is no numeric",
        "  line 9: cell \"i\" is there twice",
        "  line 10: 2 fields in place of 4",
    ] {
        assert!(said.stderr.contains(line), "{line}: {said:?}");
    }
    assert_eq!(there(), expected);
}
