package server

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster"
)

// Server is one node. New makes it, Run is its life.
type Server struct {
	cfg     Config
	handler atomic.Pointer[http.Handler]
	node    atomic.Pointer[node]
	started signalOnce
	ready   signalOnce
}

// signalOnce is a channel that is closed at most once.
type signalOnce struct {
	once sync.Once
	ch   chan struct{}
}

func (s *signalOnce) fire() { s.once.Do(func() { close(s.ch) }) }

// New checks the configuration and reports all its faults. It does no I/O.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	s.started.ch = make(chan struct{})
	s.ready.ch = make(chan struct{})
	return s, nil
}

// Run opens the data directory and the port, and keeps the node running until ctx
// ends; then it drains, leaves the cluster and returns nil. It returns an error if
// the node cannot start or one of its parts fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	n, err := newNode(s)
	if err != nil {
		return err
	}
	s.node.Store(n)
	return n.run(ctx)
}

// Handler serves everything that the node's own port serves, so that it can be
// mounted in another server below Config.PathPrefix. It answers 503 while the
// node does not run.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := s.handler.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "1")
		http.Error(w, `{"code":"not-formed","title":"the node has not started"}`, http.StatusServiceUnavailable)
	})
}

// Started returns a channel that is closed when the port answers.
func (s *Server) Started() <-chan struct{} { return s.started.ch }

// Ready returns a channel that is closed when the node is a member that serves
// the configuration for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready.ch }

// Addr returns the address that the node listens on, once it has started.
func (s *Server) Addr() string {
	if n := s.node.Load(); n != nil {
		return n.listener.Addr().String()
	}
	return ""
}

// Endpoint returns the URL that the node advertises, once it has started; empty
// for an outbound-only node.
func (s *Server) Endpoint() string {
	if n := s.node.Load(); n != nil {
		return n.endpoint
	}
	return ""
}

// Name returns the node's name, once it has started.
func (s *Server) Name() string {
	if n := s.node.Load(); n != nil {
		return n.self.Name
	}
	return ""
}

// Reload reads the cookies (if there is a Config.CookieSource) and the certificate
// files again, at once; they are also read when they change. Certificates that
// cannot be used change nothing, and the error says why; cookies that cannot be
// used are a problem in the status.
func (s *Server) Reload() error {
	n := s.node.Load()
	if n == nil {
		return nil
	}
	n.cookies.reload()
	if !n.cfg.TLS.used() {
		return nil
	}
	return n.renewCertificates(n.certs.Reload)
}

// LoginCode makes a one-use code that opens the dashboard as an administrator. It
// is meant for the person at the terminal that started the node.
func (s *Server) LoginCode() string {
	if n := s.node.Load(); n != nil {
		return n.loginCode()
	}
	return ""
}

// Status returns what the node says of its cluster, once it has started.
func (s *Server) Status() muster.Status {
	if n := s.node.Load(); n != nil {
		return n.Status()
	}
	return muster.Status{}
}
