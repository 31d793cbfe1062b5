//! Which Python runs sources, and what it needs to read.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// An interpreter that was seen to run behind the walls.
#[derive(Debug, Clone)]
pub(super) struct Interpreter {
    pub(super) program: PathBuf,
    /// What it needs to read.
    pub(super) readable: Vec<PathBuf>,
}

/// Interpreters of that name: as it stands if it is a path, else wherever `PATH` and the usual places have one. Scripts that
/// stand for one (of version managers) are none: they would start others.
pub(super) fn candidates(wanted: &Path) -> Vec<Interpreter> {
    let named: Vec<PathBuf> = if wanted.components().count() > 1 {
        vec![wanted.to_owned()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = OsStr::new("/usr/local/bin:/usr/bin:/bin");
        let folders = std::env::split_paths(&path).chain(std::env::split_paths(usual));
        folders.map(|folder| folder.join(wanted)).collect()
    };
    let mut found: Vec<Interpreter> = Vec::new();
    for program in named {
        let Ok(real) = program.canonicalize() else {
            continue;
        };
        if is_script(&real) || found.iter().any(|known| known.program == program) {
            continue;
        }
        let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        // The installation it belongs to, and the virtual environment that names it.
        let roots = [&program, &real].map(|path| path.parent().and_then(Path::parent));
        readable.extend(
            roots
                .into_iter()
                .flatten()
                .filter(|root| is_below(root))
                .map(Path::to_owned),
        );
        found.push(Interpreter { program, readable });
    }
    found
}

/// Whether a folder is one of an installation and not the root of everything.
fn is_below(folder: &Path) -> bool {
    folder.components().count() > 1
}

fn is_script(program: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    let read = std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut start));
    read.is_err() || start == *b"#!"
}

/// What every interpreter may read: programs and libraries, and what tells it about time, names and certificates.
const SYSTEM: [&str; 17] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/etc/timezone",
];
