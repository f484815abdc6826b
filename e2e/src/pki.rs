//! Certificates and kubeconfigs of the lab's cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// The cluster's certificate authority, and the folder where everything is written.
pub struct Pki {
    folder: PathBuf,
    server: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority; kubeconfigs point to `server`, a URL.
    pub fn new(folder: &Path, server: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubenet-lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.join("ca.crt"), params.self_signed(&key)?.pem())?;
        let tokens = KeyPair::generate()?;
        fs::write(folder.join("sa.key"), tokens.serialize_pem())?;
        fs::write(folder.join("sa.pub"), tokens.public_key_pem())?;
        let issuer = Issuer::new(params, key);
        Ok(Self { folder: folder.to_owned(), server: server.to_owned(), issuer })
    }

    /// Where the file `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes `file`.crt and `file`.key for `user` of `group`, valid for `names` as a server.
    pub fn certificate(&self, file: &str, user: &str, group: &str, names: &[&str]) -> Result<()> {
        let key = KeyPair::generate()?;
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(self.path(&format!("{file}.crt")), certificate.pem())?;
        Ok(fs::write(self.path(&format!("{file}.key")), key.serialize_pem())?)
    }

    /// Writes a kubeconfig for `user` of `group`, and returns its path.
    pub fn kubeconfig(&self, file: &str, user: &str, group: &str) -> Result<PathBuf> {
        self.certificate(file, user, group, &[])?;
        let path = self.path(&format!("{file}.kubeconfig"));
        let (folder, server) = (self.folder.display(), &self.server);
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: lab
clusters:
  - name: lab
    cluster: {{server: \"{server}\", certificate-authority: \"{folder}/ca.crt\"}}
users:
  - name: {file}
    user: {{client-certificate: \"{folder}/{file}.crt\", client-key: \"{folder}/{file}.key\"}}
contexts:
  - name: lab
    context: {{cluster: lab, user: {file}}}
"
        );
        fs::write(&path, text)?;
        Ok(path)
    }
}
