//! Loads a kernel module and those that it needs, as modprobe(8) does, where there is no such program.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel decompresses, since 5.17 and where it is
/// built with `CONFIG_MODULE_DECOMPRESS`.
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

/// Loads the module `name` of the running kernel, whose files are in a folder of `modules`, which is
/// /lib/modules as a rule. What is loaded already is left alone.
///
/// # Errors
/// A file that can't be read, or the kernel's refusal; which one is in the text.
pub fn load(modules: &Path, name: &str) -> io::Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let folder = modules.join(release.trim_end());
    let index = folder.join("modules.dep");
    let text = fs::read_to_string(&index).map_err(|error| named("read", &index, &error))?;
    let files = load_order(&text, name)
        .ok_or_else(|| io::Error::other(format!("{} has no {name}", index.display())))?;
    for file in files {
        let path = folder.join(file);
        let opened = File::open(&path).map_err(|error| named("open", &path, &error))?;
        let is_plain = path.extension().is_some_and(|extension| extension == "ko");
        let flags = if is_plain { ModuleInitFlags::empty() } else { COMPRESSED };
        match finit_module(&opened, c"", flags) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(named("load", &path, &errno.into())),
        }
    }
    Ok(())
}

/// The files of the module `name` and of those that it needs, the first one first: what stands in
/// modules.dep (depmod(8)), from right to left.
fn load_order<'a>(dependencies: &'a str, name: &str) -> Option<Vec<&'a str>> {
    dependencies.lines().find_map(|line| {
        let (file, needed) = line.split_once(':')?;
        let module = file.rsplit('/').next()?.split('.').next()?.replace('-', "_");
        let mut files = needed.split_whitespace().rev().collect::<Vec<_>>();
        files.push(file);
        (module == name).then_some(files)
    })
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/llc/llc.ko:
kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko
kernel/drivers/net/dummy-thing.ko.zst:
";

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        for (name, files) in [
            ("llc", Some(vec!["kernel/net/llc/llc.ko"])),
            (
                "br_netfilter",
                Some(vec![
                    "kernel/net/llc/llc.ko",
                    "kernel/net/802/stp.ko.xz",
                    "kernel/net/bridge/bridge.ko.xz",
                    "kernel/net/bridge/br_netfilter.ko.xz",
                ]),
            ),
            ("dummy_thing", Some(vec!["kernel/drivers/net/dummy-thing.ko.zst"])),
            ("br", None),
        ] {
            assert_eq!(load_order(DEPENDENCIES, name), files, "{name}");
        }
    }

    #[test]
    fn what_is_not_there_or_is_no_module_is_named() {
        let modules = tempfile::tempdir().unwrap();
        let told = || load(modules.path(), "br_netfilter").unwrap_err().to_string();
        assert!(told().contains("modules.dep: No such file"), "{}", told());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let folder = modules.path().join(release.trim_end());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("modules.dep"), "").unwrap();
        assert!(told().ends_with("modules.dep has no br_netfilter"), "{}", told());
        fs::write(folder.join("modules.dep"), "br_netfilter.ko:\n").unwrap();
        fs::write(folder.join("br_netfilter.ko"), "no ELF").unwrap();
        assert!(told().contains("cannot load "), "{}", told());
    }
}
