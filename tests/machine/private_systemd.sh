# A service manager of our own in a namespace of its own: starts a service, stops its process as a hang would, and waits
# until the watchdog has put another in its place. Arguments: folder of the units, name of the unit.
set -u
mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_UNIT_PATH="$1:" XDG_CACHE_HOME="$1/cache"
/lib/systemd/systemd --user --unit=basic.target --log-target=console --log-level=warning >"$1/manager.log" 2>&1 &
manager=$!
for _ in $(seq 50); do systemctl --user is-active -q basic.target && break; sleep 0.1; done
systemctl --user is-active -q basic.target || { echo "no manager"; exit 0; }
show() {
  echo "$1 $(systemctl --user show "$2" --value -p ActiveState) $(systemctl --user show "$2" --value -p NRestarts)" \
    "$(systemctl --user show "$2" --value -p MainPID) $(systemctl --user show "$2" --value -p StatusText)"
}
timeout 60 systemctl --user start "$2"
show started "$2"
tr '\0' '\n' <"/proc/$(systemctl --user show "$2" --value -p MainPID)/cmdline" | sed 's/^/word /'
sleep 6
show waited "$2"
kill -STOP "$(systemctl --user show "$2" --value -p MainPID)"
for _ in $(seq 300); do
  sleep 0.1
  [ "$(systemctl --user show "$2" --value -p NRestarts)" = 1 ] \
    && [ "$(systemctl --user show "$2" --value -p ActiveState)" = active ] && break
done
show restarted "$2"
systemctl --user stop "$2"
show stopped "$2"
kill $manager
wait
