//! A machine that has had another pod network: its configuration makes way if the operator says so.

use super::*;

const OTHER: &str = r#"{"name": "other", "plugins": [{"type": "bridge"}]}"#;

fn names(lab: &Lab) -> Vec<String> {
    let entries = lab.path("conf").read_dir().unwrap();
    let mut names = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn another_networks_config_makes_way_once_ours_is_there() {
    let mut lab = Lab::new();
    fs::create_dir_all(lab.path("conf")).unwrap();
    fs::write(lab.path("conf/05-other.conflist"), OTHER).unwrap();
    let shadowed = Err(Unready::Shadowed("05-other.conflist".to_owned()));
    assert_eq!(lab.round(&mut lab.machine()).verdict, shadowed);
    assert_eq!(names(&lab), ["05-other.conflist", "10-kubenet.conflist"]);
    lab.config.take_over = true;
    assert_eq!(lab.round(&mut lab.machine()).verdict, Ok(()));
    assert_eq!(names(&lab), ["05-other.conflist.kubenet-disabled", "10-kubenet.conflist"]);
    let text = fs::read_to_string(lab.path("conf/05-other.conflist.kubenet-disabled"));
    assert_eq!(text.unwrap(), OTHER);
}
