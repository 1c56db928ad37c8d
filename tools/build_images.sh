#!/usr/bin/env bash
# Builds the project's images with buildah, without a container engine and without a registry.
#
#   tools/build_images.sh [slim] [trainer]      default: slim
#
# Writes $CACHE/images/asgd-operator.tar (slim) and asgd-trainer.tar, docker archives of localhost/NAME:VERSION, and
# prints a line an image: name, archive, bytes (the archive is not compressed). What earlier builds have left in buildah's
# store, gigabytes, is removed, as far as this build did not use it. A slim image of more than SLIM_LIMIT bytes is an error.
#
# BASE                 image to build on; not given: Debian trixie made by debootstrap, once, kept in the cache
# VERSION              tag; default: the project's version
# ASGD_CLUSTER_CACHE   where base and archives are kept; default ~/.cache/asgd-cluster
set -euo pipefail
cd "$(dirname "$0")/.."
CACHE=${ASGD_CLUSTER_CACHE:-$HOME/.cache/asgd-cluster}
LABEL=dev.asgd.image
SLIM_LIMIT=220000000
# Of all files and of the image itself, whenever it is built: the first second that also zip archives know.
EPOCH=315532800
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -1)}
SUITE=trixie MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}

need() {
  command -v "$1" >/dev/null || { echo "error: $1 is missing: apt-get install $1" >&2; exit 1; }
}

debian_base() {  # sets BASE to a plain Debian of our own
  local tar=$CACHE/debian-$SUITE.tar root
  BASE=localhost/debian:$SUITE
  if [ ! -f "$tar" ]; then
    need debootstrap
    root=$(mktemp -d)
    # What debian:*-slim leaves out as well; the other exclusions hold for packages that are installed later.
    debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR" >&2
    printf 'path-exclude /usr/share/%s/*\n' doc man info locale > "$root/etc/dpkg/dpkg.cfg.d/slim"
    echo 'path-include /usr/share/doc/*/copyright' >> "$root/etc/dpkg/dpkg.cfg.d/slim"
    find "$root/usr/share/doc" ! -type d ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/{apt,ldconfig}/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
    tar -C "$root" --numeric-owner -cf "$tar.partial" . && mv "$tar.partial" "$tar"
    rm -rf "$root"
  fi
  buildah inspect --type image "$BASE" >/dev/null 2>&1 && return
  local container
  container=$(buildah from scratch)
  buildah add -q "$container" "$tar" / >/dev/null
  buildah commit -q --timestamp "$EPOCH" "$container" "$BASE" >/dev/null
  buildah rm "$container" >/dev/null
}

forget_older() {  # name log: takes away what earlier builds of this image have left, and no image of anybody else
  local id
  # NB: what this build has made or used, by its log, is the cache of the next one, which would take ten minutes longer.
  for id in $(buildah images --quiet --no-trunc --filter dangling=true --filter "label=$LABEL=$1"); do
    id=${id#sha256:}
    grep -q "${id:0:11}" "$2" || buildah rmi "$id" >/dev/null 2>&1 || echo "note: the older image $id of $1 is in use and stays" >&2
  done
}

build() {  # target name
  local image=localhost/$2:$VERSION archive=$CACHE/images/$2.tar extra=() name id log
  # The machine's own certificates and index hold while building, and stay out of the image.
  if [ -f "${SSL_CERT_FILE:-}" ]; then
    mkdir -p "$CACHE/ca" && cp "$SSL_CERT_FILE" "$CACHE/ca/ca.crt"
    # NB: onto a directory that exists; a mount point that buildah has to make would stay in the image.
    extra+=(--volume "$CACHE/ca:/mnt:ro" --build-arg SSL_CERT_FILE=/mnt/ca.crt)
  fi
  for name in PIP_INDEX_URL UV_DEFAULT_INDEX; do
    [ -z "${!name:-}" ] || extra+=(--build-arg "$name=${!name}")
  done
  log=$(mktemp)
  extra+=(--label "$LABEL=$2" --label "org.opencontainers.image.version=$VERSION")
  buildah build --layers --pull=never --timestamp "$EPOCH" --target "$1" --build-arg "BASE=$BASE" "${extra[@]}" -t "$image" . 2>&1 | tee "$log" >&2
  forget_older "$2" "$log"
  rm -f "$log"
  mkdir -p "$CACHE/images"
  # An archive of gigabytes is written again only when the image is another one.
  id=$(buildah inspect --type image --format '{{.FromImageID}}' "$image")
  if [ ! -f "$archive" ] || [ "$(cat "$archive.id" 2>/dev/null)" != "$id $image" ]; then
    rm -f "$archive" "$archive.id"
    buildah push -q "$image" "docker-archive:$archive:$image" >/dev/null
    echo "$id $image" >"$archive.id"
  fi
  echo "$image $archive $(stat -c %s "$archive")"
}

need buildah
mkdir -p "$CACHE"
[ -n "${BASE:-}" ] || debian_base
for target in "${@:-slim}"; do
  case $target in
    slim) build slim asgd-operator; python3 tools/image_parts.py "$CACHE/images/asgd-operator.tar" "$SLIM_LIMIT" >&2 ;;
    trainer) build trainer asgd-trainer ;;
    *) sed -n '2,14p' "$0"; exit 2 ;;
  esac
done
