use serde_json::json;

use super::*;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Roles, String> {
    roles(Some(&STANDARD.encode(bytes).into())).map_err(|refused| refused.to_string())
}

fn one() -> Roles {
    Roles(vec![("analyst".into(), vec!["run".into()])])
}

/// Made by upstream's generator (flowkit-jwt-generator 1.34.0): `compress_claims({"analyst": ["run", "get_result",
/// "admin3:spatial_aggregate:spatial_aggregate", "admin3:spatial_aggregate:daily_location"]})`.
#[test]
fn what_upstream_packs_is_read() {
    let packed = "H4sIAHPTBGsC/3yKPQqAMAxGr1Iyu7n1KiLlw4ZSiKm06VDEu6uz4Ph+ToJCRjPybqHalSZHiS1U\nbl3sJcQ96+zbAcuQgJQqJxh/\
                  ze8dkWUEKdsTitJ63QAAAP//AwDgeupuewAAAA==\n";
    let Roles(roles) = roles(Some(&packed.into())).unwrap();
    let scopes =
        ["run", "get_result", "admin3:spatial_aggregate:spatial_aggregate", "admin3:spatial_aggregate:daily_location"];
    assert_eq!(roles, [("analyst".to_owned(), scopes.map(String::from).to_vec())]);
}

#[test]
fn base64_may_be_broken_anywhere_and_gzip_may_have_several_members() {
    let packed = STANDARD.encode(gzip(br#"{"analyst": ["run"]}"#));
    for text in [packed.clone(), format!("{packed}\n"), packed.chars().map(|c| format!("{c}\r\n\t ")).collect()] {
        assert_eq!(roles(Some(&text.into())).unwrap(), one());
    }
    let two = [gzip(b"{\"analyst\": "), gzip(b"[\"run\"]}")].concat();
    assert_eq!(read(&two).unwrap(), one());
}

#[test]
fn an_object_is_taken_as_it_is() {
    assert_eq!(roles(Some(&json!({ "analyst": ["run"] }))).unwrap(), one());
}

#[test]
fn anything_else_is_refused() {
    let cut = gzip(br#"{"analyst": ["run"]}"#);
    let mut torn = cut.clone();
    let middle = torn.len() - 6;
    torn[middle] ^= 1;
    for bytes in [&cut[..cut.len() - 1], &torn, b"", b"x", &[cut.clone(), b"x".to_vec()].concat()] {
        assert_eq!(read(bytes).unwrap_err(), "Invalid claim: user_claims: not gzip");
    }
    for json in [
        "",
        "[]",
        "1",
        "null",
        r#"{"a": "run"}"#,
        r#"{"a": [1]}"#,
        r#"{"a": {}}"#,
        r#"{"a": []} x"#,
        "{\"a\": [\"\\ud800\"]}",
    ] {
        assert!(read(&gzip(json.as_bytes())).unwrap_err().starts_with("Invalid claim: user_claims: "), "{json}");
    }
    let twice = read(&gzip(br#"{"a": ["run"], "a": []}"#)).unwrap_err();
    assert!(twice.starts_with("Invalid claim: user_claims: a role stands twice"), "{twice}");
    for claim in [json!("!"), json!("aaa"), json!(1), json!([["a", ["run"]]]), json!(null), json!(true)] {
        assert!(roles(Some(&claim)).is_err(), "{claim}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(read(&bomb).unwrap_err(), "Invalid claim: user_claims: more than 1048576 bytes when unpacked");
    let most = [b"{\"analyst\":[\"run\"]}".to_vec(), vec![b' '; (1 << 20) - 19]].concat();
    assert_eq!(read(&gzip(&most)).unwrap(), one());
}

#[test]
fn lines_are_broken_as_mime_has_it() {
    let roles = BTreeMap::from([("a", (0..40).map(|n| format!("scope {n} {}", n * 7919)).collect::<Vec<_>>())]);
    let text = packed(&roles).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 2 && text.ends_with('\n'));
    assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == 76) && lines[lines.len() - 1].len() <= 76);
}

#[test]
fn a_limit_that_is_not_understood_is_refused() {
    let read = |claim: Value| dates(Some(&claim)).map_err(|refused| refused.to_string());
    let of = |first, last| Dates::parse(first, last).unwrap();
    assert_eq!(dates(None).unwrap(), (Dates::default(), BTreeMap::new()));
    let (whole, roles) =
        read(json!({ "first": "2016-01-01", "roles": { "a": { "last": "2016-02-01" }, "b": {} } })).unwrap();
    assert_eq!(whole, of(Some("2016-01-01"), None));
    assert_eq!(roles, BTreeMap::from([("a".into(), of(None, Some("2016-02-01"))), ("b".into(), Dates::default())]));
    for claim in [
        json!(null),
        json!("2016-01-01"),
        json!(["2016-01-01"]),
        json!({ "frist": "2016-01-01" }),
        json!({ "first": null }),
        json!({ "first": "2016-1-1" }),
        json!({ "first": "2016-02-30" }),
        json!({ "first": "2016-01-01T00:00:00" }),
        json!({ "last": 20160101 }),
        json!({ "roles": [] }),
        json!({ "roles": null }),
        json!({ "roles": { "a": null } }),
        json!({ "roles": { "a": [] } }),
        json!({ "roles": { "a": { "roles": {} } } }),
    ] {
        assert!(read(claim.clone()).unwrap_err().starts_with("Invalid claim: data_dates: "), "{claim}");
    }
}
