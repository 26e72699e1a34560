#!/bin/sh
# Installs what a data centre is made of, from Debian 12 packages; run as root, as often as you like.
#
#   - nothing is started, and what an earlier installation started is stopped and disabled: `postfachwerk cell up`
#     runs every daemon itself, on the cell's own addresses
#   - /etc/sogo/sogo.conf is left empty and readable: sogod aborts when it may not read it
#   - `acl-query` is taken out of SOGo's DAV reports: with it anyone who may read a folder may grant himself more.
#     An upgrade of the package brings it back, which `cell up` finds; then run this again
#   - an account `postfachwerk-cell` is made, which the daemons run as when root starts a cell
#   - Postfix is installed unconfigured: each cell has a configuration of its own
set -eu

ACCOUNT=postfachwerk-cell
DAEMONS="dovecot sogo memcached nginx postfix"
PACKAGES="dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-submissiond dovecot-managesieved
    dovecot-sieve dovecot-pgsql sogo sogo-activesync memcached nginx-light postfix postfix-pgsql openssl iproute2
    ca-certificates"
REPORTS=/usr/lib/GNUstep/Frameworks/SOGo.framework/Resources/DAVReportMap.plist

if [ "$(id -u)" != 0 ]; then
    echo "packages.sh: only root can install packages" >&2
    exit 1
fi
if [ "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" != bookworm ]; then
    echo "packages.sh: the cell's configuration is for Debian 12 (bookworm): later Dovecots speak another language" >&2
    exit 1
fi

missing=
for package in $PACKAGES; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
for version in 15 16 17 18; do
    [ -x "/usr/lib/postgresql/$version/bin/initdb" ] && server=$version
done
[ -n "${server:-}" ] || missing="$missing postgresql-15"

if [ -n "$missing" ]; then
    # 101 is Debian's word for "do not start": a daemon with the package's settings would be open to the machine.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
    apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold $missing
fi

if [ -d /run/systemd/system ]; then
    for daemon in $DAEMONS; do
        systemctl disable --quiet --now "$daemon" 2>/dev/null || true
    done
else
    for daemon in $DAEMONS; do
        [ -x "/etc/init.d/$daemon" ] && "/etc/init.d/$daemon" stop >/dev/null 2>&1 || true
        update-rc.d -f "$daemon" disable >/dev/null 2>&1 || true
    done
fi

getent passwd $ACCOUNT >/dev/null ||
    useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin $ACCOUNT
printf '{\n}\n' >/etc/sogo/sogo.conf
chmod 644 /etc/sogo/sogo.conf
sed -i '/acl-query/d' "$REPORTS"
