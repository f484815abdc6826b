//! The one image of the lab, made on the spot: `probe`, and nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Its name, for sandboxes and for pods.
pub const NAME: &str = "kubenet.test/probe:1";

const MEDIA_TYPE: &str = "application/vnd.oci.image";

/// Writes an OCI image layout (image-spec 1.1, `image-layout.md`) as a tar file, which
/// `ctr images import` takes: `probe` as the entry point, `pause` as its default argument.
pub fn write(file: &Path, probe: &Path) -> Result<()> {
    let mut layer = Archive::new(Vec::new());
    layer.file("probe", 0o755, &fs::read(probe)?)?;
    let layer = layer.finish()?;
    let config = json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/probe"], "Cmd": ["pause"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": format!("{MEDIA_TYPE}.manifest.v1+json"),
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": NAME});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut archive = Archive::new(File::create(file)?);
    archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.file("index.json", 0o644, index.as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        let name = digest(blob).replace("sha256:", "blobs/sha256/");
        archive.file(&name, 0o644, blob)?;
    }
    archive.finish()?;
    Ok(())
}

struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn new(to: W) -> Self {
        Self(tar::Builder::new(to))
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into()?);
        header.set_mode(mode);
        Ok(self.0.append_data(&mut header, name, content)?)
    }

    fn finish(self) -> Result<W> {
        Ok(self.0.into_inner()?)
    }
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": format!("{MEDIA_TYPE}.{kind}"),
        "digest": digest(content),
        "size": content.len(),
    })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// This machine's architecture by Go's name for it, as images have it.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
