//! Lists of cells: what is sound becomes history, what is not changes nothing.

use super::forms::{self, DEGREES, METRES, Place};
use super::{Rig, SUPERUSER};

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

#[test]
fn points_of_every_form_are_cells() {
    let rig = Rig::started();
    let dir = rig.files.path();
    let names = ["cell_id", "name"];
    let places = forms::middles(&forms::squares());
    let metres: Vec<Place> = places
        .iter()
        .map(|(id, name, point)| {
            let sql = format!(
                "SELECT ST_X(p), ST_Y(p) FROM ST_Transform(ST_Point({}, {}, 4326), 32618) AS p",
                point[0][0], point[0][1]
            );
            let row = &rig.cluster.ask(SUPERUSER, &sql)[0];
            (*id, *name, vec![[0, 1].map(|at| row[at].parse().expect("a number"))])
        })
        .collect();
    let plain: String =
        metres.iter().map(|(id, name, point)| format!("{id},\"{name}\",{},{}\n", point[0][0], point[0][1])).collect();
    let files = [
        (rig.file("cells.csv", forms::wkt(&places, names)), None),
        (rig.file("cells.geojson", forms::geojson(&places, names)), None),
        (forms::shapefile(dir, "cells", &places, names, DEGREES), None),
        (forms::zipped(&dir.join("cells.shp")), None),
        (forms::shapefile(dir, "metres", &metres, names, METRES), None),
        (forms::geopackage(dir, "cells.gpkg", &metres, names, 32618), None),
        (rig.file("metres.csv", format!("cell_id,name,x,y\n{plain}")), Some("32618")),
    ];
    for entry in std::fs::read_dir(dir).expect("a directory") {
        rig.cluster.give(&entry.expect("an entry").path());
    }
    let mut expected = "4 cells added, 0 moved, 0 where they were\n";
    for (file, srid) in &files {
        let options = srid.map_or(vec!["cells"], |srid| vec!["cells", "--srid", srid]);
        let said = rig.run(&options, &[file]);
        assert_eq!((said.status, said.stdout.as_str()), (Some(0), expected), "{}: {said:?}", file.display());
        expected = "0 cells added, 0 moved, 4 where they were\n";
    }
    let there = "SELECT id, name, round(ST_X(geom_point)::numeric, 6), round(ST_Y(geom_point)::numeric, 6) FROM infrastructure.cells ORDER BY id";
    assert_eq!(rig.ask(there)[..2], ["HT01 Grand'Anse -74.500000 18.500000", "HT02 Artibonite é -73.500000 18.500000"]);

    // History, and what is no point.
    let moved: Vec<Place> =
        places.iter().map(|(id, name, point)| (*id, *name, vec![[point[0][0], point[0][1] + 0.1]])).collect();
    let file = rig.file("moved.geojson", forms::geojson(&moved, names));
    assert!(rig.run(&["cells"], &[&file]).stderr.contains("4 cells have moved, such as \"HT01\"; say with --date"));
    assert_eq!(
        rig.run(&["cells", "--date", "2016-02-01"], &[&file]).stdout,
        "0 cells added, 4 moved, 0 where they were\n"
    );
    assert_eq!(rig.value("SELECT count(*) FROM infrastructure.cells WHERE date_of_last_service = '2016-01-31'"), "4");
    let areas = rig.file("areas.geojson", forms::geojson(&forms::squares(), names));
    let said = rig.run(&["cells"], &[&areas]);
    assert!(said.stderr.contains("4 of its cells are not sound:\n  feature 1: its geometry is no point\n"), "{said:?}");
    let said = rig.run(&["cells", "--srid", "32618"], &[&rig.file("far.csv", "id,x,y\nfar,1e9,1e9\n")]);
    assert_ne!(said.status, Some(0), "{said:?}");
    assert_eq!(rig.value("SELECT count(*) FROM infrastructure.cells WHERE id = 'far'"), "0");
}
