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
	case to == nil || w.cut || w.loss > 0 && rand.Float64() < w.loss || w.blockPort != 0 && portOf(packet) == w.blockPort:
	case w.delay == 0:
		_, _ = to.tun.Write(packet) // a host that has just gone
	default:
		late := w.delay + time.Duration((rand.Float64()*2-1)*float64(w.jitter))
		n.line(d, to).put(append([]byte{}, packet...), time.Now().Add(late))
	}
}

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
