# SPDX-License-Identifier: GPL-2.0
# alone
# seconds: 60
# heard TEXT: waits until the module logs the text. This takes no further process, and runs on
# another CPU, so that freed pages are not used again before their flags are read.
exec 3</dev/kmsg
heard() {
	while read -r -t 20 -u 3 line; do
		case $line in *"dmazap: $1"*) return 0 ;; esac
	done
	exit 1
}
taskset -cp 1 $$ >/dev/null
taskset -c 0 insmod dmazap.ko &
pid=$!
heard mapped
echo 1 >/proc/sys/vm/drop_caches
heard frames
cat /proc/kpageflags >/tmp/dmazap.flags
frames=${line##*[}
frames=${frames%%]*}
# Bits of the flags of a page frame: 3 up to date, 4 dirty, 5 LRU, 11 mapped, 12 anonymous.
dirty=0
for frame in ${frames//,/}; do
	[ "$frame" != 0 ] || exit 1
	flags=$(od -An -tx8 -j $((frame * 8)) -N 8 /tmp/dmazap.flags | tr -d ' ')
	echo "frame $frame flags $flags"
	(((0x$flags & 1 << 4) && !(0x$flags & 1 << 5))) && dirty=$((dirty + 1))
done
ends $pid 20 || broken "insmod hangs: $(where $pid)"
must_go dmazap 10
[ $dirty = 0 ] || broken "$dirty pages were marked as dirty after they were freed"
held "no free page is dirty"
