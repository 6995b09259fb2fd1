//! `--export` and `--import`: the whole account as one file that a passphrase protects, to move to another machine.
//!
//! The file is an age file (<https://age-encryption.org/v1>), so that it can be opened without this program too; what
//! it holds is the journal, one SQLite database.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::iter;
use std::path::{Path, PathBuf};

use age::scrypt::{Identity, Recipient};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor};
use anyhow::{Context, anyhow, bail};
use crossbeam_channel::Receiver;
use tempfile::NamedTempFile;

use crate::protocol::{Name, PublicKey};
use crate::store::StoreError;
use crate::store::journal::Journal;
use progress::{Doing, Meter, Step};

mod passphrase;
mod progress;

/// What the passphrase costs to try, as a power of two: what the `age` tool takes, about a second and 256 MiB.
const WORK: u8 = 18;
/// The most that is spent on a file from elsewhere: four times as much.
const MAX_WORK: u8 = 20;
const CHUNK: usize = 64 * 1024;

/// An account, and the file that it goes to or comes from.
#[derive(Debug, Clone)]
pub struct Transfer {
    pub user: Name,
    pub data_dir: PathBuf,
    pub file: PathBuf,
    /// The user is asked for the passphrase without it.
    pub passphrase_file: Option<PathBuf>,
}

impl Transfer {
    /// Writes the account to the file, which must not be there yet. A client of the account may be running. After an
    /// error there is no file.
    pub fn export(&self) -> anyhow::Result<()> {
        let signals = super::signals()?;
        let journal = super::journal_path(&self.data_dir, &self.user);
        let shown = self.file.display();
        // Both before anybody is asked for anything.
        if !journal.try_exists().with_context(|| format!("can't use {}", journal.display()))? {
            bail!("there is no account of {} here: no {}", self.user, journal.display());
        }
        let wont_replace = || anyhow!("{shown} is there already and was left as it was; name another file");
        if self.file.symlink_metadata().is_ok() {
            return Err(wont_replace());
        }
        let directory = self.file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // No other user may read it, and it is gone unless it becomes the file.
        let mut unfinished = NamedTempFile::new_in(directory)
            .with_context(|| format!("can't write to {}", directory.display()))?;
        let passphrase = passphrase::get(self.passphrase_file.as_deref(), true, &signals)?;
        let meter = Meter::start(Step::whole(Doing::Copying));
        let copying = |done, of| meter.step(Step { doing: Doing::Copying, done, of });
        let mut copy = Journal::copy(&journal, &self.user, copying)?;
        let length = copy.metadata()?.len();
        let progress = &mut |step| meter.step(step);
        let written = seal((&mut copy, length), unfinished.as_file_mut(), passphrase, &signals, progress)
            .and_then(|()| Ok(unfinished.as_file().sync_all()?));
        written.with_context(|| format!("can't write {shown}"))?;
        unfinished.persist_noclobber(&self.file).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => wont_replace(),
            _ => anyhow!(error.error).context(format!("can't write {shown}")),
        })?;
        File::open(directory).and_then(|directory| directory.sync_all())?;
        Ok(())
    }

    /// Makes the account that the file holds this machine's; there must be none of that name yet. Returns its key.
    /// After an error nothing has changed.
    pub fn import(&self) -> anyhow::Result<PublicKey> {
        let signals = super::signals()?;
        let journal = super::journal_path(&self.data_dir, &self.user);
        let shown = self.file.display();
        let mut file = File::open(&self.file).with_context(|| format!("can't read {shown}"))?;
        if journal.try_exists().with_context(|| format!("can't use {}", journal.display()))? {
            return Err(StoreError::Exists(journal).into());
        }
        let passphrase = passphrase::get(self.passphrase_file.as_deref(), false, &signals)?;
        let length = file.metadata()?.len();
        let meter = Meter::start(Step::whole(Doing::Stretching));
        let imported = Journal::import(&journal, &self.user, |unfinished| {
            let progress = &mut |step| meter.step(step);
            open((&mut file, length), unfinished, passphrase, &signals, progress)
                .map_err(|error| error.context(format!("{shown} can't be imported")))
        });
        drop(meter);
        imported.map_err(|error: anyhow::Error| match error.downcast_ref::<StoreError>() {
            Some(StoreError::Damaged { why, .. }) => {
                anyhow!("{shown} holds no whole journal of {} ({why}); nothing was changed", self.user)
            }
            Some(StoreError::OtherVersion { version, found, known, .. }) => anyhow!(
                "{shown} was written by {version} version of peerchat (format {found}, this one reads {known}): import it with that version; nothing was changed"
            ),
            _ => error,
        })
    }
}

/// Encrypts all that can be read, which has about so many bytes.
fn seal(
    (from, length): (&mut impl Read, u64),
    to: &mut impl Write,
    passphrase: SecretString,
    signals: &Receiver<()>,
    progress: &mut dyn FnMut(Step),
) -> anyhow::Result<()> {
    progress(Step::whole(Doing::Stretching));
    let mut recipient = Recipient::new(passphrase);
    recipient.set_work_factor(WORK);
    let mut sealed = Encryptor::with_recipients(iter::once(&recipient as _))?.wrap_output(to)?;
    copy(from, &mut sealed, signals, |done| progress(Step { doing: Doing::Encrypting, done, of: length }))?;
    sealed.finish()?.flush()?;
    Ok(())
}

/// Decrypts all that can be read, which has about so many bytes. What has been written before an error is not to be used.
fn open(
    (from, length): (&mut impl Read, u64),
    to: &mut impl Write,
    passphrase: SecretString,
    signals: &Receiver<()>,
    progress: &mut dyn FnMut(Step),
) -> anyhow::Result<()> {
    progress(Step::whole(Doing::Stretching));
    let mut identity = Identity::new(passphrase);
    identity.set_max_work_factor(MAX_WORK);
    let explain = |error: DecryptError| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            anyhow!("the passphrase is wrong")
        }
        DecryptError::NoMatchingKeys => anyhow!("it is encrypted to a key and not with a passphrase"),
        DecryptError::ExcessiveWork { .. } => {
            anyhow!("its passphrase takes more work to try than this program is ready for")
        }
        DecryptError::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => anyhow!(error),
        _ => anyhow!("it is no age file, or it is damaged"),
    };
    let decryptor = Decryptor::new_buffered(BufReader::with_capacity(CHUNK, from)).map_err(explain)?;
    let mut opened = decryptor.decrypt(iter::once(&identity as _)).map_err(explain)?;
    let decrypting = |done| progress(Step { doing: Doing::Decrypting, done, of: length });
    copy(&mut opened, to, signals, decrypting).map_err(|error| {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                anyhow!("it is cut short or damaged")
            }
            _ => error,
        }
    })?;
    // It is what follows: the journal is not taken unseen.
    progress(Step::whole(Doing::Checking));
    Ok(())
}

/// `progress` is told how many bytes are copied.
fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    signals: &Receiver<()>,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<()> {
    let (mut chunk, mut done) = (vec![0; CHUNK], 0_u64);
    loop {
        let read = match from.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if read == 0 {
            return Ok(());
        }
        if signals.try_recv().is_ok() {
            bail!("interrupted");
        }
        to.write_all(chunk.get(..read).unwrap_or_default())?;
        done = done.saturating_add(u64::try_from(read)?);
        progress(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_tells_how_far_it_is() {
        let text: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let (length, never) = (text.len() as u64, crossbeam_channel::never());
        let word = || SecretString::from("a passphrase");
        let (mut steps, mut sealed, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        seal((&mut &*text, length), &mut sealed, word(), &never, &mut |step| steps.push(step)).unwrap();
        let doing = |steps: &[Step]| {
            let mut doing: Vec<_> = steps.iter().map(|step| step.doing).collect();
            doing.dedup();
            doing
        };
        assert_eq!(doing(&steps), [Doing::Stretching, Doing::Encrypting]);
        assert!(steps.iter().skip(1).is_sorted_by(|one, next| one.done < next.done && next.of == length));
        assert_eq!(steps.last().map(|step| (step.done, step.of)), Some((length, length)));

        steps.clear();
        let whole = sealed.len() as u64;
        open((&mut &*sealed, whole), &mut opened, word(), &never, &mut |step| steps.push(step)).unwrap();
        assert_eq!(opened, text);
        assert_eq!(doing(&steps), [Doing::Stretching, Doing::Decrypting, Doing::Checking]);
        let decrypting: Vec<_> = steps.iter().filter(|step| step.doing == Doing::Decrypting).collect();
        assert!(decrypting.is_sorted_by(|one, next| one.done < next.done && next.of == whole));
        assert_eq!(decrypting.last().map(|step| step.done), Some(length));
    }
}
