#!/bin/sh
# Puts OHIF, as npm has it but for one mended line, into a folder: sh get_ohif.sh FOLDER. Version and digest stand here and
# nowhere else; the image and `make pacs` both take it from here. The package holds the built viewer: nothing is compiled.
set -eu

PACKAGE=@ohif/app
VERSION=3.13.2
# What npm calls its integrity, in hexadecimal: npm view @ohif/app@3.13.2 dist.integrity
SHA512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10

folder=$1
# Another version of this script gets it anew.
stamp=$(sha512sum <"$0")
if [ "$(cat "$folder/STAMP" 2>/dev/null)" = "$stamp" ]; then
    exit
fi
mkdir -p "$(dirname "$folder")"
# Beside the folder, so that it gets its name by one rename, whole or not at all.
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent --ignore-scripts "$PACKAGE@$VERSION" >/dev/null)
echo "$SHA512  $work/ohif-app-$VERSION.tgz" | sha512sum -c - >/dev/null || {
    echo "$PACKAGE $VERSION is not the package that was looked at: its digest differs. It is not used." >&2
    exit 1
}
tar -xzf "$work/ohif-app-$VERSION.tgz" -C "$work"
dist=$work/package/dist

# OHIF 3.13.2 takes the first letter of VOI LUT Function (0028,1056) for all of it, and shows no film that has one: black, or
# without contrast (cornerstone3D issue 2844). Most films of digital radiography have one.
wrong='voiLutModule\.voiLUTFunction\[0\]'
right='[].concat(voiLutModule.voiLUTFunction)[0]'
grep -q "$wrong" "$dist"/app.bundle.*.js || {
    echo "The line of OHIF that is mended here is not there: see whether $VERSION still needs it." >&2
    exit 1
}
find "$dist" -name '*.js' -exec sed -i "s/$wrong/$right/" {} +

# Three quarters of it are for segmenting by a network in the browser, for microscopy, and for debugging.
rm -rf "$dist/ort" "$dist/dicom-microscopy-viewer"
find "$dist" -name '*.map' -exec rm {} +
cp "$work/package/LICENSE" "$dist/LICENSE"
echo "$stamp" >"$dist/STAMP"
chmod -R a+rX "$dist"
rm -rf "$folder"
mv "$dist" "$folder"
