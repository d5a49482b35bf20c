#!/bin/sh
# Installs PiCloud, or upgrades it, from a release whose signature it has verified:
#
#   sh install.sh                       as root: the package on Debian and what is like it, else the program and its units of systemd
#   sh install.sh --download-only DIR   leaves the verified file in DIR, and installs nothing; as anybody
#
#   --version VERSION   which release; as it is published, this file has that of its own
#   --from URL          the directory of the release's files, by HTTPS
#   --key FILE          the public key that they are signed by (PEM), in place of the one below
#   --binary            the program and its units, where there is a package too
#
# What is trusted is the key below alone, and with it this file: get it by HTTPS from where the releases are, and read it. SHA256SUMS is
# signed by that key (ECDSA on P-256, which any openssl verifies), names each file of the release with its digest, and each file names its
# version. So whoever serves the files can neither change one nor pass off another release. An older one is installed only where
# --version asks for it.
#
# Nothing of the release is run, unpacked or kept before it is verified.

set -eu

# The release workflow puts these in as it publishes this file.
VERSION=''
FROM=''
KEY=''

say() { echo "install.sh: $*" >&2; }

refuse() {
  say "$*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# fetch URL FILE: by HTTPS (which curl keeps to wherever it is led), and 256 MiB at most, several times what a release has.
fetch() {
  (
    ulimit -f 524288
    if have curl; then
      curl --silent --show-error --fail --location --proto '=https' --proto-redir '=https' --tlsv1.2 --max-redirs 5 \
        --connect-timeout 30 --speed-limit 1024 --speed-time 60 --output "$2" -- "$1"
    else
      wget --quiet --secure-protocol=TLSv1_2 --max-redirect=5 --timeout=60 --output-document="$2" -- "$1"
    fi
  ) || refuse "cannot get $1"
}

# Of the program, which is of the userland's kind: a Pi may run a 64-bit kernel below a 32-bit Debian.
architecture() {
  if have dpkg; then dpkg --print-architecture; else uname -m; fi
}

# The digest that SHA256SUMS has for a file; exactly one line may name it.
digest_of() {
  awk -v name="$1" '{ file = $2; sub(/^\*/, "", file) } NF == 2 && file == name { print $1 }' "$work/SHA256SUMS"
}

# get NAME: a file of the release, verified.
get() {
  wanted=$(digest_of "$1")
  [ "${#wanted}" -eq 64 ] || refuse "the release has no $1, or names it twice: nothing is installed"
  say "getting $1"
  fetch "$from/$1" "$work/$1"
  found=$(sha256sum <"$work/$1")
  [ "${found%% *}" = "$wanted" ] || refuse "$1 is not what the release's signature is of: nothing is installed"
}

install_package() {
  # A package that was removed still has its settings here, and its version told.
  installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Version}' picloud 2>/dev/null) || installed=''
  case $installed in
    'installed '*) installed=${installed#* } ;;
    *) installed='' ;;
  esac
  # Of a release that is still to come, such as 1.2.0-rc.1, Debian's word is 1.2.0~rc.1.
  if [ -n "$installed" ] && [ -z "$version_asked" ] && dpkg --compare-versions "$installed" gt "$(echo "$version" | sed 's/-/~/')"; then
    refuse "$installed is installed, which is newer than $version: say --version $version to go back"
  fi
  say "installing $file"
  # Root's own words to apt: keep the settings that somebody has changed.
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --allow-downgrades -o Dpkg::Options::=--force-confold "$work/$file"
}

install_program() {
  if have dpkg-query && [ "$(dpkg-query --show --showformat='${db:Status-Status}' picloud 2>/dev/null)" = installed ]; then
    refuse 'the package is installed here, whose service would run one program or the other: leave out --binary, or remove it first'
  fi
  say 'installing /usr/local/bin/picloud'
  (cd "$work" && tar -xzf "$file")
  unpacked=$work/picloud-$version-$kind
  getent passwd picloud >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/picloud --no-create-home --shell /usr/sbin/nologin picloud
  install -d /usr/local/bin /etc/picloud
  [ -e /etc/picloud/picloud.toml ] || install -m 640 -g picloud "$unpacked/picloud.toml" /etc/picloud/picloud.toml
  # Beside the old one and into its place, since one that runs cannot be written to.
  install -m 755 "$unpacked/picloud" /usr/local/bin/picloud.new
  mv -f /usr/local/bin/picloud.new /usr/local/bin/picloud
  install -d /usr/local/share/man/man1
  install -m 644 "$unpacked"/man/* /usr/local/share/man/man1
  if ! [ -d /run/systemd/system ]; then
    say 'here is no systemd: start /usr/local/bin/picloud as the user picloud'
    return
  fi
  for unit in "$unpacked"/systemd/*; do
    sed 's|/usr/bin/picloud|/usr/local/bin/picloud|g' "$unit" >"/etc/systemd/system/${unit##*/}"
  done
  systemctl daemon-reload
  systemctl enable --quiet picloud.service
  if systemctl --quiet is-active picloud.service; then
    # It hands over to the new program, and closes no connection.
    (cd / && exec env -i PATH="$PATH" setpriv --reuid=picloud --regid=picloud --init-groups /usr/local/bin/picloud upgrade) ||
      say 'the process from before goes on serving: look at journalctl --unit picloud, and systemctl restart picloud takes up the new one'
  else
    systemctl start picloud.service
  fi
}

main() {
  version=$VERSION from=$FROM key='' directory='' version_asked='' binary=''
  while [ $# -gt 0 ]; do
    case $1 in
      --version | --from | --key | --download-only) [ $# -gt 1 ] || refuse "$1 wants a value" ;;
    esac
    case $1 in
      --version) version=$2 version_asked=yes && shift ;;
      --from) from=$2 && shift ;;
      --key) key=$2 && shift ;;
      --download-only) directory=$2 && shift ;;
      --binary) binary=yes ;;
      *) refuse "$1 is not known; see the head of this file" ;;
    esac
    shift
  done

  case $version in
    '') refuse 'which release? say --version' ;;
    *[!0-9A-Za-z.+~-]*) refuse "$version is no version" ;;
  esac
  case $from in
    https://*) from=${from%/} ;;
    '') refuse 'where is the release? say --from' ;;
    *) refuse "$from is not by HTTPS" ;;
  esac
  have curl || have wget || refuse 'curl or wget is needed'
  for tool in openssl sha256sum awk mktemp; do have "$tool" || refuse "$tool is needed"; done
  [ -n "$directory" ] || [ "$(id -u)" -eq 0 ] || refuse 'only root installs: use sudo, or say --download-only DIR'
  [ -z "$directory" ] || [ -d "$directory" ] || refuse "$directory is no directory"

  case $(architecture) in
    amd64 | x86_64) kind=amd64 ;;
    arm64 | aarch64) kind=arm64 ;;
    *) refuse "there is no release for $(architecture), only for amd64 and arm64" ;;
  esac
  if [ -z "$binary" ] && have dpkg && have apt-get; then
    file=picloud_${version}_$kind.deb
  else
    file=picloud-$version-$kind.tar.gz binary=yes
  fi

  umask 077
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM

  if [ -n "$key" ]; then
    cat -- "$key" >"$work/key"
  else
    [ -n "$KEY" ] || refuse 'this copy has no key in it: take the one that is published with a release, or say --key'
    echo "$KEY" >"$work/key"
  fi
  fetch "$from/SHA256SUMS" "$work/SHA256SUMS"
  fetch "$from/SHA256SUMS.sig" "$work/SHA256SUMS.sig"
  openssl dgst -sha256 -verify "$work/key" -signature "$work/SHA256SUMS.sig" "$work/SHA256SUMS" >/dev/null 2>&1 ||
    refuse 'the signature of SHA256SUMS is not right: nothing is installed'
  get "$file"

  # What root installs is for others to read, and apt unpacks as a user of its own.
  umask 022
  chmod 755 "$work"
  chmod 644 "$work/$file"
  if [ -n "$directory" ]; then
    cp "$work/$file" "$directory/$file"
    say "verified: $directory/$file"
  elif [ -n "$binary" ]; then
    install_program
  else
    install_package
  fi
}

# At the end, so that half of this file does nothing.
main "$@"
