#!/bin/sh
# What a clean Debian does with the package; runs in its root. The argument is the version of the second package.
set -eu

fail() {
    echo "inside: $1" >&2
    exit 1
}

# Installed, and nothing started or enabled.
dpkg --install /root/first.deb
nbdgate --version
id nbdgate
for link in /etc/systemd/system/*/nbdgate* /etc/systemd/system/nbdgate*; do
    if [ -e "$link" ] || [ -L "$link" ]; then fail "$link is enabled"; fi
done
for file in /usr/lib/systemd/system/nbdgate@.service /usr/lib/systemd/system/nbdgate.socket \
    /usr/share/bash-completion/completions/nbdgate /usr/share/man/man1/nbdgate-serve.1.gz \
    /usr/share/doc/nbdgate/docs/SYSTEMD.md /usr/share/doc/nbdgate/examples/prometheus/rules/alerts.yml \
    /usr/share/doc/nbdgate/examples/grafana/fleet.json; do
    [ -s "$file" ] || fail "$file is missing"
done

# The file that is installed serves nothing, and with an export it is right. A client is greeted.
! nbdgate serve --check --config /etc/nbdgate/nbdgate.toml 2>/root/why || fail "an empty file is accepted"
grep -q 'nothing to serve' /root/why || fail "$(cat /root/why)"
printf '[[export]]\nname = "vm1"\nuri = "mem:1M"\n' >>/etc/nbdgate/nbdgate.toml
nbdgate serve --check --config /etc/nbdgate/nbdgate.toml
install -d -o nbdgate -g nbdgate -m 750 /var/lib/nbdgate /var/cache/nbdgate
# As SECURITY.md has it: who runs QEMU becomes a member of the gateway's group, which the socket units let in, or has a folder
# that gives its group on.
adduser --quiet --system --group --no-create-home libvirt-qemu
usermod -aG nbdgate libvirt-qemu
id -nG libvirt-qemu | grep -qw nbdgate || fail "no member of the group nbdgate"
grep -q '^SocketGroup=nbdgate$' /usr/lib/systemd/system/nbdgate@.socket || fail "the socket is not the group's"
install -d -m 755 /run/nbdgate
install -d -o nbdgate -g libvirt-qemu -m 2750 /run/nbdgate/guests
as_nbdgate="setpriv --reuid=nbdgate --regid=nbdgate --clear-groups"
(
    umask 0007
    exec $as_nbdgate nbdgate serve --config /etc/nbdgate/nbdgate.toml --listen unix:/run/nbdgate/guests/nbd.sock 2>/root/log
) &
gateway=$!
setpriv --reuid=libvirt-qemu --regid=libvirt-qemu --clear-groups perl -MIO::Socket::UNIX -e '
    my ($client, $greeting);
    for (1 .. 600) {
        last if $client = IO::Socket::UNIX->new(Peer => "/run/nbdgate/guests/nbd.sock");
        select(undef, undef, undef, 0.1);
    }
    die "nobody listens\n" unless $client;
    read($client, $greeting, 8);
    die "not greeted\n" unless $greeting eq "NBDMAGIC";
' || fail "$(cat /root/log)"
kill "$gateway"
wait "$gateway" || fail "$(cat /root/log)"

# An upgrade keeps what was written into the file.
echo journal >/var/lib/nbdgate/vm1.journal
echo cache >/var/cache/nbdgate/cache
dpkg --install /root/next.deb
[ "$(dpkg-query --show --showformat '${Version}' nbdgate)" = "$1" ] || fail "not upgraded"
grep -q 'mem:1M' /etc/nbdgate/nbdgate.toml || fail "the configuration was overwritten"

# Removal keeps configuration, journals and caches.
dpkg --remove nbdgate
[ ! -e /usr/bin/nbdgate ] || fail "the program is still there"
[ -e /etc/nbdgate/nbdgate.toml ] || fail "removal took the configuration"
[ -e /var/cache/nbdgate/cache ] || fail "removal took the cache"

# A purge takes what can be made anew, and nothing else.
echo '# of an operator' >/etc/nbdgate/vm1.toml
dpkg --purge nbdgate
[ ! -e /etc/nbdgate/nbdgate.toml ] || fail "the configuration stays"
[ ! -e /var/cache/nbdgate ] || fail "the cache stays"
[ -e /var/lib/nbdgate/vm1.journal ] || fail "a journal is lost"
[ -e /etc/nbdgate/vm1.toml ] || fail "an operator's file is lost"
id nbdgate >/dev/null || fail "files have lost their owner"

# Where there is nothing to keep, nothing stays.
rm /var/lib/nbdgate/vm1.journal /etc/nbdgate/vm1.toml
dpkg --install /root/first.deb
dpkg --purge nbdgate
if [ -e /etc/nbdgate ] || [ -e /var/lib/nbdgate ]; then fail "empty directories stay"; fi
