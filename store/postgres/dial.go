package postgres

import (
	"context"
	"net"
	"time"
)

// lingerTime bounds what the driver does with a connection that it gives up: it
// asks the server to cancel and drains what is still coming, for up to 15 s each,
// and keeps the connection's place in the pool meanwhile.
const lingerTime = time.Second

// dialer makes connections that end when cut does, and that linger only shortly.
func dialer(cut context.Context) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		Timeout:         connectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		cancelRequest := isCancelRequest(ctx)
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if cancelRequest {
			_ = conn.SetDeadline(time.Now().Add(lingerTime)) // fails on a closed connection only
		}
		return &cutConn{Conn: conn, stop: context.AfterFunc(cut, func() { _ = conn.Close() })}, nil
	}
}

// isCancelRequest tells the driver's cancel requests from its connections by the
// time they may take: connections have connectTimeout.
func isCancelRequest(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) > 2*connectTimeout
}

// cutConn is a connection that is closed from outside at the end of its store.
type cutConn struct {
	net.Conn
	stop func() bool
}

// Close closes the connection.
func (c *cutConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// SetDeadline sets a deadline that is not further away than lingerTime: the
// driver sets far ones only to drain a connection that it has given up.
func (c *cutConn) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(lingerTime); t.After(soon) {
		t = soon
	}
	return c.Conn.SetDeadline(t)
}
