package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of a Link. The children that the packet path needs are
// resolved once. No label takes a value that another node made up.
type metrics struct {
	links       *prometheus.GaugeVec
	handshakes  *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	packets     *prometheus.CounterVec
	packetBytes *prometheus.CounterVec
	batches     prometheus.Counter
	writes      prometheus.Histogram
	replaced    prometheus.Counter
	drops       *prometheus.CounterVec
	reconnects  *prometheus.CounterVec
	streams     *prometheus.CounterVec
	auth        *prometheus.CounterVec

	dropped struct{ queueFull, stale, tooBig, noRoute, lost prometheus.Counter }
	out, in struct{ packets, bytes prometheus.Counter }
}

func newMetrics() *metrics {
	m := &metrics{
		links: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "muster_link_links", Help: "Links that are up, by channel and direction.",
		}, []string{"channel", "direction"}),
		handshakes: counters("handshakes_total", "Handshakes by channel, direction and result: ok, a code, or how it broke off.", "channel", "direction", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "muster_link_handshake_seconds", Help: "Time of handshakes that ended well: from connect (out) or the request (in) to accept.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"direction"}),
		packets:     counters("packets_total", "Packets by direction.", "direction"),
		packetBytes: counters("packet_bytes_total", "Bytes of packets by direction.", "direction"),
		batches:     counter("batches_total", "Writes of one or more packets."),
		writes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "muster_link_write_seconds", Help: "Time of one write of packets to a socket; 2 s is the limit.",
			Buckets: []float64{.00001, .0001, .001, .01, .1, .5, 1, 2},
		}),
		replaced:   counter("replaced_total", "Packet links replaced by a newer one."),
		drops:      counters("dropped_total", "Packets not sent, by reason.", "reason"),
		reconnects: counters("reconnects_total", "Packet links opened again, by what ended the one before.", "reason"),
		streams:    counters("streams_total", "Streams by direction and result.", "direction", "result"),
		auth:       counters("auth_failures_total", "Connections on which the other side failed to prove itself, by reason.", "reason"),
	}
	m.resolve()
	return m
}

// resolve makes the series that shall exist before something happens.
func (m *metrics) resolve() {
	m.dropped.queueFull = m.drops.WithLabelValues("queue_full")
	m.dropped.stale = m.drops.WithLabelValues("stale")
	m.dropped.tooBig = m.drops.WithLabelValues("too_big")
	m.dropped.noRoute = m.drops.WithLabelValues("no_route")
	m.dropped.lost = m.drops.WithLabelValues("lost")
	m.out.packets, m.out.bytes = m.packets.WithLabelValues("out"), m.packetBytes.WithLabelValues("out")
	m.in.packets, m.in.bytes = m.packets.WithLabelValues("in"), m.packetBytes.WithLabelValues("in")
	for _, reason := range []string{"cookie", "replay", "hello", "identity", "certificate", "record"} {
		m.auth.WithLabelValues(reason)
	}
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_link_" + name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_link_" + name, Help: help})
}

// register publishes the metrics, and what is read from l when somebody asks.
func (m *metrics) register(reg prometheus.Registerer, l *Link) error {
	if reg == nil {
		return nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.links, m.handshakes, m.seconds, m.packets, m.packetBytes, m.batches, m.writes, m.replaced, m.drops,
		m.reconnects, m.streams, m.auth, newGauges(l),
	} {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("register link metrics: %w", err)
	}
	return nil
}

func direction(inbound bool) string {
	if inbound {
		return "in"
	}
	return "out"
}

// up counts a link that came up, and how long that took since begun.
func (m *metrics) up(c *conn) {
	m.handshakes.WithLabelValues(string(c.channel), direction(c.inbound), "ok").Inc()
	m.links.WithLabelValues(string(c.channel), direction(c.inbound)).Inc()
	m.seconds.WithLabelValues(direction(c.inbound)).Observe(time.Since(c.begun).Seconds())
}

// ended counts a link that was up and has ended.
func (m *metrics) ended(c *conn) {
	m.links.WithLabelValues(string(c.channel), direction(c.inbound)).Dec()
	if errors.Is(c.closedBy(), errRecord) {
		m.auth.WithLabelValues("record").Inc()
	}
}

// refused counts a handshake that came to nothing.
func (m *metrics) refused(channel Channel, inbound bool, err error) {
	m.handshakes.WithLabelValues(string(channel), direction(inbound), resultOf(err)).Inc()
	if reason := authReason(err); reason != "" {
		m.auth.WithLabelValues(reason).Inc()
	}
}

// stream counts a stream that was opened, or was not.
func (m *metrics) stream(inbound bool, err error) {
	m.streams.WithLabelValues(direction(inbound), resultOf(err)).Inc()
}

// resultOf sorts outcomes. A code that the other side made up is none of ours.
func resultOf(err error) string {
	code, known := knownCode(err)
	switch {
	case err == nil:
		return "ok"
	case known && code != muster.CodePeerUnreachable:
		return string(code)
	case errors.Is(err, errEvicted):
		return "evicted"
	case errors.Is(err, errHello):
		return "bad-hello"
	case errors.Is(err, errShutdown) || errors.Is(err, context.Canceled):
		return "cancelled"
	case isTimeout(err):
		return "timeout"
	case isEOF(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe):
		return "broken-off"
	case known:
		return string(code)
	}
	return "error"
}

func knownCode(err error) (muster.Code, bool) {
	e, ok := errors.AsType[*muster.Error](err)
	if !ok {
		return "", false
	}
	_, known := e.Code.Info()
	return e.Code, known
}

// authReason says in what the other side failed to prove itself, if it was that.
func authReason(err error) string {
	code, _ := knownCode(err)
	switch {
	case errors.Is(err, errReplay):
		return "replay"
	case errors.Is(err, errHello):
		return "hello"
	case errors.Is(err, errRecord):
		return "record"
	case code == muster.CodeCookieMismatch || code == muster.CodeCookieRetired:
		return "cookie"
	case code == muster.CodeClone || code == muster.CodeWrongTarget:
		return "identity"
	case isCertificate(code):
		return "certificate"
	}
	return ""
}

func isCertificate(code muster.Code) bool {
	for _, c := range certs.Codes() {
		if c == string(code) {
			return true
		}
	}
	return false
}

func (m *metrics) sent(b *batch, took time.Duration) {
	m.batches.Inc()
	m.writes.Observe(took.Seconds())
	m.out.packets.Add(float64(b.packets))
	m.out.bytes.Add(float64(len(b.buf.b) - b.packets*frameHead))
}

func (m *metrics) received(bytes int) {
	m.in.packets.Inc()
	m.in.bytes.Add(float64(bytes))
}
