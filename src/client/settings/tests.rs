use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::client::notice::tests::name;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Some(Path::new("/home/alice"))).map_err(|mistake| mistake.to_string())
}

/// The written file with every line in force that can be.
fn uncommented() -> String {
    let lines = template();
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_file_that_is_written_says_nothing() {
    assert_eq!(parse(&template()), Ok(Settings::default()));
    let fits = |line: &str| line.len() <= 80 || line.starts_with("#discovery-key");
    assert!(template().lines().all(fits), "{}", template());
}

#[test]
fn every_line_of_the_file_that_is_written_can_be_put_in_force() {
    let settings = parse(&uncommented()).unwrap();
    // None of the keys is left without a value.
    assert!(!format!("{:?}", settings.general).contains(": None"), "{settings:#?}");
    assert_eq!(settings.user(), Some(&name("alice")));
    assert_eq!(settings.general.data_dir, Some("/home/alice/.local/share/peerchat".into()));
    assert_eq!(settings.aliases.find("j"), Some("JOIN #$1"));
    // The keys and looks that are written are those that there are without a file.
    let plain = Settings::default();
    assert_eq!((&settings.keys, &settings.colours), (&plain.keys, &plain.colours));
    let work = settings.of(&name("work"));
    assert_eq!((work.port, work.discovery_port), (Some(7002), Some(7667)));
    assert_eq!((work.mute.as_deref(), work.highlight.as_ref().map(Vec::len)), (Some(&[][..]), Some(2)));
}

#[test]
fn an_account_has_its_own_and_else_what_is_general() {
    let text = "
        port = 1
        quiet = true
        [account.bob]
        port = 2
        strangers = 'ask'
        [account]
        carol.port = 3
    ";
    let settings = parse(text).unwrap();
    let of = |user: &str| settings.of(&name(user)).clone();
    assert_eq!((of("alice").port, of("alice").quiet, of("alice").strangers), (Some(1), Some(true), None));
    assert_eq!((of("bob").port, of("bob").quiet), (Some(2), Some(true)));
    assert_eq!(of("bob").strangers, Some(Strangers::Ask));
    assert_eq!((of("carol").port, of("carol").strangers), (Some(3), None));
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (text, expected) in [
        ("\nprot = 1", "line 2: there is no key \"prot\"; did you mean \"port\"?"),
        ("keep_free = 1", "line 1: there is no key \"keep_free\"; did you mean \"keep-free\"?"),
        ("[alias]\nj = 'JOIN'", "line 1: there is no key \"alias\"; did you mean \"aliases\"?"),
        ("something = 1", "line 1: there is no key \"something\""),
        ("port = 65536", "line 1: port: a port is a number from 0 to 65535; 0 takes a free one"),
        ("port = '7001'", "line 1: port: a port is a number from 0 to 65535; 0 takes a free one"),
        ("port = -1", "line 1: port: a port is a number from 0 to 65535; 0 takes a free one"),
        (
            "discovery-host = 'a,b:c'",
            "line 1: discovery-host: part 2 of the list, \"b:c\": a port to connect to is a number from 1 to 65535",
        ),
        ("discovery-port = 0", "line 1: discovery-port: a port to connect to is a number from 1 to 65535"),
        ("user = 5", "line 1: user: a text in quotes is wanted here"),
        ("user = 'Alice'", "line 1: user: names are in lower case: write \"alice\""),
        ("quiet = 'yes'", "line 1: quiet: true or false is wanted here"),
        ("mode = 'screen'", "line 1: mode: \"full\" or \"line\" is wanted here"),
        ("strangers = 'no'", "line 1: strangers: \"open\", \"ask\", \"all\" or \"closed\" is wanted here"),
        ("keep-free = 1.5", "line 1: keep-free: a whole number of MiB is wanted here"),
        ("data-dir = 'chat'", "line 1: data-dir: a path that begins with / or ~/ is wanted here"),
        ("notify = 'bin/x'", "line 1: notify: a path that begins with / or ~/ is wanted here"),
        ("mute = 'bob'", "line 1: mute: texts in brackets are wanted here, such as [\"one\", \"two\"]"),
        ("mute = ['lab', '#']", "line 1: mute: a name can't be empty"),
        ("highlight = ['']", "line 1: highlight: a word is empty, which every message holds"),
        ("aliases = 1", "line 1: \"aliases\" is a section: write [aliases]"),
        ("[[account]]\nport = 1", "line 1: \"account\" is a section: write [account]"),
        ("[aliases]\n\nchat = 'WHY'", "line 3: [aliases]: \"chat\" can't be an alias: CHAT is a command"),
        ("[aliases]\nx = 'XYZZY'", "line 2: [aliases]: an alias stands for a command, and \"XYZZY\" is none"),
        ("[aliases]\nquiet = true", "line 2: [aliases]: \"quiet\" needs a text in quotes"),
        ("[keys]\n'alt+x' = 'next'", "line 2: [keys]: \"next\" is no action; did you mean \"none\"?"),
        ("[keys]\nhyper = 'redraw'", "line 2: [keys]: \"hyper\" is no key that a terminal tells"),
        ("[colours]\ntiem = 'red'", "line 2: [colours]: \"tiem\" has no colour here; did you mean \"time\"?"),
        ("[colours]\n\ntime = 'rde'", "line 3: [colours]: \"rde\" is no colour; did you mean \"red\"?"),
        ("[colors]\ntime = 'red'", "line 1: there is no key \"colors\"; did you mean \"colours\"?"),
        ("keys = 1", "line 1: \"keys\" is a section: write [keys]"),
        ("[account.Bob]\nport = 1", "line 1: names are in lower case: write \"bob\""),
        ("[account.bob]\nprt = 1", "line 2: there is no key \"prt\"; did you mean \"port\"?"),
        ("[account.bob]\nuser = 'bob'", "line 2: \"user\" stands above all sections; this one is bob's"),
        ("[account]\nport = 1", "line 2: [account.port] is a section, for the account of that name"),
    ] {
        assert_eq!(parse(text), Err(expected.into()), "{text}");
    }
    for (text, line) in [("port = 1\nport = 2", 2), ("user = \"alice", 1), ("a b", 1), ("\n\n=", 3)] {
        let mistake = parse(text).unwrap_err();
        assert!(mistake.starts_with(&format!("line {line}: ")) && !mistake.contains('\n'), "{mistake}");
    }
    let homeless = Settings::parse("data-dir = '~/x'", None).unwrap_err().to_string();
    assert_eq!(homeless, "line 1: data-dir: there is no home directory: write the whole path");
}

#[test]
fn keys_and_colours_are_taken() {
    let settings = parse("[keys]\n'alt+x' = 'redraw'\n[colours]\ntime = 'red'\n").unwrap();
    let (mut keys, mut colours) = (KeyMap::default(), Colours::default());
    keys.bind("alt+x", "redraw").unwrap();
    colours.set("time", "red").unwrap();
    assert_eq!((settings.keys, settings.colours), (keys, colours));
}

#[test]
fn a_program_may_be_one_of_the_path() {
    let notify = |text: &str| parse(text).unwrap().general.notify;
    assert_eq!(notify("notify = 'notify-send'"), Some("notify-send".into()));
    assert_eq!(notify("notify = '~/x'"), Some("/home/alice/x".into()));
    assert_eq!(notify("notify = '/x'"), Some("/x".into()));
}

#[test]
fn a_file_is_written_once_and_for_its_user_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").join("client.toml");
    assert_eq!(write(Some(&path)).unwrap(), path);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(load(Some(&path)).unwrap(), Settings::default());
    std::fs::write(&path, "port = 5\n").unwrap();
    assert!(write(Some(&path)).unwrap_err().to_string().ends_with("is there already and was left as it is"));
    assert_eq!(load(Some(&path)).unwrap().of(&name("alice")).port, Some(5));
    // One that is named must be there; what can't be read is no missing file.
    assert!(load(Some(&directory.path().join("other"))).is_err());
    assert!(load(Some(directory.path())).is_err());
    std::fs::write(&path, b"\xff").unwrap();
    assert!(load(Some(&path)).is_err());
}

#[test]
fn the_documentation_has_every_key_and_no_other() {
    let documented = include_str!("../../../docs/client.md");
    let section = documented.split("## Configuration").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let named: Vec<&str> = rows.map(|(key, _)| key).collect();
    let keys: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    let sections = ["[aliases]", "[keys]", "[colours]", "[account.NAME]"];
    assert_eq!(named, [&keys[..], &sections[..]].concat());
}

proptest! {
    #[test]
    fn any_text_is_understood_or_a_mistake_in_one_of_its_lines(
        (lines, cut) in (prop::collection::vec(any::<prop::sample::Index>(), 0..8), any::<prop::sample::Index>())
    ) {
        let text = uncommented();
        let all: Vec<&str> = text.lines().collect();
        let picked: Vec<&str> = lines.iter().map(|line| *line.get(&all)).collect();
        let mut text = picked.join("\n");
        if !text.is_empty() {
            text.truncate(text.floor_char_boundary(cut.index(text.len()) + 1));
        }
        if let Err(mistake) = Settings::parse(&text, None) {
            prop_assert!(mistake.line <= text.lines().count().max(1), "{mistake}: {text}");
            prop_assert!(!mistake.what.chars().any(char::is_control), "{mistake}");
        }
    }
}
