//! What coordinates are counted in.

/// A system of coordinates, as far as a file says which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// One that PostGIS knows by its number.
    Epsg(i32),
    /// One that has a name, and no number that we know.
    Unknown(String),
    /// The file does not say.
    Unsaid,
}

impl System {
    /// Degrees, as GPS has them.
    pub const WGS84: System = System::Epsg(4326);

    /// What GeoJSON of before RFC 7946 says: `urn:ogc:def:crs:EPSG::32618`, `EPSG:32618`, `urn:ogc:def:crs:OGC:1.3:CRS84`.
    pub(super) fn of_urn(name: &str) -> System {
        let upper = name.to_uppercase();
        if upper.ends_with("CRS84") {
            return System::WGS84;
        }
        let number = upper.rsplit(':').next().and_then(|number| number.parse().ok());
        match number.filter(|_| upper.contains("EPSG:")) {
            Some(number) => System::Epsg(number),
            None => System::Unknown(name.chars().take(80).collect()),
        }
    }

    /// What a `.prj` says, in either version of WKT: by its number, if it has one, or by one of the names that are known to all.
    pub(super) fn of_prj(text: &str) -> System {
        let text = text.trim_start_matches('\u{feff}').trim();
        let name = text.split('"').nth(1).unwrap_or_default();
        if let Some(number) = authority(text).or_else(|| by_name(name)) {
            return System::Epsg(number);
        }
        let name = if name.is_empty() { text } else { name };
        System::Unknown(name.chars().take(80).collect())
    }
}

/// The number of the whole, not that of one of its parts (its ellipsoid has one too): `AUTHORITY["EPSG","32618"]` or
/// `ID["EPSG",32618]` one bracket deep.
fn authority(text: &str) -> Option<i32> {
    let (mut depth, mut quoted, mut word) = (0u32, false, 0);
    for (at, sign) in text.char_indices() {
        match sign {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '[' | '(' => {
                if depth == 1 && matches!(text[word..at].trim(), "AUTHORITY" | "ID") {
                    let inside = text[at + 1..].split([']', ')']).next()?;
                    let mut parts = inside.split(',').map(|part| part.trim().trim_matches('"'));
                    if parts.next().is_some_and(|who| who.eq_ignore_ascii_case("EPSG")) {
                        return parts.next()?.parse().ok();
                    }
                }
                (depth, word) = (depth + 1, at + 1);
            }
            ']' | ')' => depth = depth.saturating_sub(1),
            ',' => word = at + 1,
            _ => {}
        }
    }
    None
}

/// Esri's names have no numbers beside them.
fn by_name(name: &str) -> Option<i32> {
    let plain: String = name.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.as_str() {
        "GCSWGS1984" | "WGS84" | "WGS1984" | "GCSWGS84" => return Some(4326),
        "WGS1984WEBMERCATORAUXILIARYSPHERE" | "WGS84PSEUDOMERCATOR" => return Some(3857),
        _ => {}
    }
    let zone = plain.strip_prefix("WGS1984UTMZONE").or(plain.strip_prefix("WGS84UTMZONE"))?;
    let (number, north) = match (zone.strip_suffix('N'), zone.strip_suffix('S')) {
        (Some(number), _) => (number, true),
        (_, Some(number)) => (number, false),
        _ => return None,
    };
    let number = number.parse::<i32>().ok().filter(|number| (1..=60).contains(number))?;
    Some(if north { 32600 } else { 32700 } + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_known_by_number_or_by_name() {
        let degrees = r#"GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]"#;
        let esri =
            format!(r#"PROJCS["WGS_1984_UTM_Zone_18N",{degrees},PROJECTION["Transverse_Mercator"],UNIT["Meter",1.0]]"#);
        let numbered = format!(
            r#"PROJCS["anything",{},PROJECTION["Mercator"],AUTHORITY["EPSG","3395"]]"#,
            r#"GEOGCS["x",AUTHORITY["EPSG","4267"]]"#
        );
        let second = r#"PROJCRS["RGF93 / Lambert-93",BASEGEOGCRS["RGF93",ID["EPSG",4171]],ID["EPSG",2154]]"#;
        // The number of a part is not that of the whole.
        let part = r#"PROJCS["Haiti_1:5",GEOGCS["x",AUTHORITY["EPSG","4267"]]]"#;
        for (text, expected) in [
            (degrees, System::WGS84),
            (&format!("\u{feff}{degrees}\n"), System::WGS84),
            (&esri, System::Epsg(32618)),
            (r#"PROJCS["WGS 84 / UTM zone 37S"]"#, System::Epsg(32737)),
            (r#"PROJCS["WGS_1984_UTM_Zone_61N"]"#, System::Unknown("WGS_1984_UTM_Zone_61N".into())),
            (&numbered, System::Epsg(3395)),
            (second, System::Epsg(2154)),
            (part, System::Unknown("Haiti_1:5".into())),
            ("", System::Unknown(String::new())),
            ("AUTHORITY[", System::Unknown("AUTHORITY[".into())),
            ("[AUTHORITY[\"EPSG\"", System::Unknown("EPSG".into())),
        ] {
            assert_eq!(System::of_prj(text), expected, "{text}");
        }
        assert_eq!(System::of_urn("urn:ogc:def:crs:OGC:1.3:CRS84"), System::WGS84);
        assert_eq!(System::of_urn("urn:ogc:def:crs:EPSG::32618"), System::Epsg(32618));
        assert_eq!(System::of_urn("EPSG:3857"), System::Epsg(3857));
        assert_eq!(System::of_urn("moon:1"), System::Unknown("moon:1".into()));
    }
}
