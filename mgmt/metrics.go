package mgmt

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
)

// metrics counts what the surface does.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	failures *prometheus.CounterVec
	streams  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_http_requests_total",
			Help: "HTTP requests by operation and status code.",
		}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "muster_http_request_duration_seconds",
			Help:    "Time to answer, by operation; streams and long polls are left out.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"operation"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "muster_auth_failures_total",
			Help: "Refused credentials by reason.",
		}, []string{"reason"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "muster_watch_streams",
			Help: "Open event streams.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.failures, m.streams} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the HTTP surface: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) observe(s *scope, status int) {
	operation := s.route.operation
	if operation == "" {
		operation = "other"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	if !s.route.stream && !s.r.URL.Query().Has("wait") {
		m.duration.WithLabelValues(operation).Observe(time.Since(s.began).Seconds())
	}
}

func (m *metrics) refused(reason muster.Code) { m.failures.WithLabelValues(string(reason)).Inc() }
