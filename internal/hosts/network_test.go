package hosts_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network joins hosts. Each host is a network namespace with one interface, a TUN
// device whose other end is held here: every packet between hosts passes through
// this process, which does to it what the test wants. Namespaces have no names and
// end with the test, however that ends.
type network struct {
	t *testing.T

	mu    sync.Mutex
	hosts map[byte]*host        // by the last byte of the address
	lines map[direction]*line   // where packets are delayed
	rules map[direction]weather // nothing: clear
}

// direction is the way from one host to another.
type direction struct{ from, to byte }

// weather is what happens to the packets of one direction.
type weather struct {
	cut           bool
	blockPort     uint16  // packets to this TCP port are dropped; 0: none
	loss          float64 // part of the packets that is lost
	delay, jitter time.Duration
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, hosts: map[byte]*host{}, lines: map[direction]*line{}, rules: map[direction]weather{}}
	t.Cleanup(n.close)
	return n
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hosts {
		_ = h.tun.Close() // ends its reader
		_ = h.ns.Close()
	}
	for _, l := range n.lines {
		close(l.done)
	}
}

// set makes the weather from one host to another.
func (n *network) set(from, to *host, w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules[direction{from.number, to.number}] = w
}

// both makes the weather between hosts, both ways.
func (n *network) both(a, b *host, w weather) {
	n.set(a, b, w)
	n.set(b, a, w)
}

// everywhere makes the weather between all hosts.
func (n *network) everywhere(w weather, hosts ...*host) {
	for _, a := range hosts {
		for _, b := range hosts {
			n.set(a, b, w)
		}
	}
}

// carry reads what a host sends until the host is gone.
func (n *network) carry(h *host) {
	packet := make([]byte, 65536)
	for {
		size, err := h.tun.Read(packet)
		if err != nil {
			return
		}
		if size >= 20 && packet[0]>>4 == 4 {
			n.pass(h, packet[:size])
		}
	}
}

// pass does to one IPv4 packet what the weather wants.
func (n *network) pass(from *host, packet []byte) {
	d := direction{from.number, packet[19]} // last byte of the destination
	n.mu.Lock()
	to, w := n.hosts[d.to], n.rules[d]
	n.mu.Unlock()
	switch {
	case to == nil || w.cut || n.lost(w) || w.blockPort != 0 && portOf(packet) == w.blockPort:
	case w.delay == 0:
		_, _ = to.tun.Write(packet) // a host that has just gone
	default:
		late := w.delay + time.Duration((rand.Float64()*2-1)*float64(w.jitter))
		n.line(d, to).put(append([]byte{}, packet...), time.Now().Add(late))
	}
}

func (n *network) lost(w weather) bool { return w.loss > 0 && rand.Float64() < w.loss }

// portOf returns the destination port of a TCP packet.
func portOf(packet []byte) uint16 {
	head := int(packet[0]&15) * 4
	if packet[9] != unix.IPPROTO_TCP || len(packet) < head+4 {
		return 0
	}
	return binary.BigEndian.Uint16(packet[head+2:])
}

func (n *network) line(d direction, to *host) *line {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.lines[d]
	if l == nil {
		l = &line{to: to, queue: make(chan late, 4096), done: make(chan struct{})} // what is more is lost, as in a router
		n.lines[d] = l
		go l.run()
	}
	return l
}

// line delays the packets of one direction and keeps their order.
type line struct {
	to    *host
	queue chan late
	done  chan struct{}
}

type late struct {
	packet []byte
	at     time.Time
}

func (l *line) put(packet []byte, at time.Time) {
	select {
	case l.queue <- late{packet, at}:
	default:
	}
}

func (l *line) run() {
	for {
		select {
		case next := <-l.queue:
			select {
			case <-time.After(time.Until(next.at)):
			case <-l.done:
				return
			}
			_, _ = l.to.tun.Write(next.packet) // a host that has just gone
		case <-l.done:
			return
		}
	}
}

// host is one machine of a network.
type host struct {
	number byte
	ns     *os.File // its namespace
	tun    *os.File // our end of its interface
}

func (h *host) address() string { return fmt.Sprintf("10.113.7.%d:9113", h.number) }

func (h *host) url() string { return "http://" + h.address() }

// host makes a machine; its address ends with the number.
func (n *network) host(number byte) *host {
	n.t.Helper()
	h := &host{number: number}
	if err := h.create(); err != nil {
		n.t.Fatalf("make a network namespace (as root): %v", err)
	}
	for _, args := range [][]string{
		{"addr", "add", fmt.Sprintf("10.113.7.%d/24", number), "dev", "eth0"}, {"link", "set", "lo", "up"}, {"link", "set", "eth0", "up"},
	} {
		if out, err := h.command("ip", args...).CombinedOutput(); err != nil {
			n.t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	n.mu.Lock()
	n.hosts[number] = h
	n.mu.Unlock()
	go n.carry(h)
	return h
}

// create makes namespace and interface, on a thread that ends with them.
func (h *host) create() error {
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		made <- h.createHere()
	}()
	return <-made
}

func (h *host) createHere() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	var err error
	if h.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	h.tun = os.NewFile(uintptr(fd), "eth0")
	return nil
}

// command runs on the host.
func (h *host) command(name string, args ...string) *exec.Cmd {
	net := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), h.ns.Fd())
	return exec.Command("nsenter", append([]string{net, "--", name}, args...)...)
}

// dial connects from the host, whatever the weather outside.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// reaches reports whether a TCP connection to another host's port can be made.
func (h *host) reaches(to *host) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	conn, err := h.dial(ctx, "tcp", to.address())
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// listen answers connections on the host until the test ends.
func (h *host) listen(t *testing.T) {
	t.Helper()
	made := make(chan error)
	var listener net.Listener
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			listener, err = net.Listen("tcp", h.address())
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
}

// TestNetworkDoesWhatItIsTold measures each kind of weather, so that a test in which
// nothing happens does not pass for want of a fault.
func TestNetworkDoesWhatItIsTold(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	a, b := n.host(1), n.host(2)
	a.listen(t)
	b.listen(t)
	if !a.reaches(b) || !b.reaches(a) {
		t.Fatal("hosts do not reach each other in clear weather")
	}
	n.set(a, b, weather{cut: true})
	if a.reaches(b) || b.reaches(a) {
		t.Error("a cut direction lets connections through")
	}
	n.set(a, b, weather{blockPort: 9113})
	if a.reaches(b) || !b.reaches(a) {
		t.Error("a blocked port must stop connections to it, and only those")
	}
	n.both(a, b, weather{delay: 200 * time.Millisecond, jitter: 50 * time.Millisecond})
	begun := time.Now()
	if !a.reaches(b) || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("connected in %s over a network with 2 x 200 ms", time.Since(begun))
	}
	passed := 0
	for range 1000 {
		if !n.lost(weather{loss: 0.2}) {
			passed++
		}
	}
	if passed < 740 || passed > 860 {
		t.Errorf("%d of 1000 packets passed a loss of 20 %%", passed)
	}
}
