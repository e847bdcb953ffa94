package replica

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are counted whether or not somebody collects them.
type metrics struct {
	failures  prometheus.Counter
	conflicts prometheus.Counter
	hints     *prometheus.CounterVec // by result
	received  *prometheus.CounterVec // by result
	pulled    *prometheus.CounterVec // by source
	batches   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, r *Replica) (*metrics, error) {
	m := &metrics{
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_config_apply_failures_total",
			Help: "Changes that could not be applied here, or that were found damaged."}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "muster_config_cas_conflicts_total",
			Help: "Writes refused because the document had changed meanwhile."}),
		hints: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_config_hints_total",
			Help: "Hints to peers by result: sent, failed, dropped."}, []string{"result"}),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_config_hints_received_total",
			Help: "Hints from peers by what was done: applied, early, old, pulled, forged, damaged, contradicting, failed."}, []string{"result"}),
		pulled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muster_config_pulled_changes_total",
			Help: "Changes that had to be asked for, by source: store, peer."}, []string{"source"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "muster_config_batch_jobs",
			Help: "Callers per call to the store.", Buckets: []float64{1, 2, 4, 8, 16, 32, 64}}),
	}
	if reg == nil {
		return m, nil
	}
	var errs []error
	for _, c := range append(m.gauges(r), m.failures, m.conflicts, m.hints, m.received, m.pulled, m.batches) {
		errs = append(errs, reg.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics of the replica: %w", err)
	}
	return m, nil
}

func (m *metrics) gauges(r *Replica) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_config_revision",
			Help: "Revision that this node serves."}, func() float64 { return float64(r.position().Rev) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muster_store_up",
			Help: "1 if the config store answered this node last time."}, func() float64 {
			if r.store.now().own == nil {
				return 1
			}
			return 0
		}),
	}
}

// failIf counts and logs an error, if there is one.
func (m *metrics) failIf(log *slog.Logger, message string, err error) {
	if err != nil {
		m.failures.Inc()
		log.Error(message, "error", err)
	}
}
