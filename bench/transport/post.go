package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// post is a transport as one would write it on an afternoon: a POST for each packet,
// in the caller's goroutine, over a shared client that keeps its connections; a
// protocol upgrade for each stream. It has no encryption and no authentication.
type post struct {
	client   *http.Client
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	server   *http.Server
	listener net.Listener
	packets  chan *memberlist.Packet
	streams  chan net.Conn
	closed   chan struct{}
}

// postLimit is the client's patience, memberlist's own for streams on a LAN.
const postLimit = 5 * time.Second

func startPost(p place) (endpoint, error) {
	listener, err := p.listen()
	if err != nil {
		return endpoint{}, err
	}
	t := &post{
		dial: p.dial, listener: listener,
		packets: make(chan *memberlist.Packet, 1024), streams: make(chan net.Conn, 64), closed: make(chan struct{}),
	}
	if t.dial == nil {
		t.dial = (&net.Dialer{}).DialContext
	}
	t.client = &http.Client{
		Timeout:   postLimit,
		Transport: &http.Transport{DialContext: t.dial, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /packet", t.takePacket)
	mux.HandleFunc("GET /stream", t.takeStream)
	t.server = &http.Server{Handler: mux, ReadHeaderTimeout: postLimit}
	go t.server.Serve(listener) // until Shutdown
	return endpoint{t, listener.Addr().String()}, nil
}

func (t *post) takePacket(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	from, _ := net.ResolveTCPAddr("tcp", r.Header.Get("X-From")) // an IP address; nothing is looked up
	select {
	case t.packets <- &memberlist.Packet{Buf: body, From: from, Timestamp: time.Now()}:
		w.WriteHeader(http.StatusNoContent)
	case <-t.closed:
	}
}

func (t *post) takeStream(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"))
	if err != nil {
		_ = conn.Close()
		return
	}
	select {
	case t.streams <- ahead{conn, rw.Reader}:
	case <-t.closed:
		_ = conn.Close()
	}
}

// ahead is a connection with bytes that were read too early.
type ahead struct {
	net.Conn
	r *bufio.Reader
}

// Read returns what was read ahead first.
func (a ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

// WriteToAddress posts a packet and waits for the answer.
func (t *post) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+to.Addr+"/packet", bytes.NewReader(b))
	if err != nil {
		return time.Time{}, err
	}
	req.Header.Set("X-From", t.listener.Addr().String())
	start := time.Now()
	resp, err := t.client.Do(req)
	if err != nil {
		return time.Time{}, err // a *url.Error, as everybody returns it
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is kept
	return start, nil
}

// WriteTo posts a packet.
func (t *post) WriteTo(b []byte, address string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: address})
}

// DialAddressTimeout upgrades a new connection.
func (t *post) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := t.dial(ctx, "tcp", to.Addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(timeout))
	r := bufio.NewReader(conn)
	_, err = fmt.Fprintf(conn, "GET /stream HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n", to.Addr)
	if err == nil {
		_, err = http.ReadResponse(r, nil)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return ahead{conn, r}, nil
}

// DialTimeout upgrades a new connection.
func (t *post) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

// FinalAdvertiseAddr returns the listener's address.
func (t *post) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, port, err := net.SplitHostPort(t.listener.Addr().String())
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(port)
	return net.ParseIP(host).To4(), n, err
}

// PacketCh returns where packets arrive.
func (t *post) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh returns where streams arrive.
func (t *post) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown closes everything.
func (t *post) Shutdown() error {
	close(t.closed)
	t.client.CloseIdleConnections()
	return t.server.Close()
}
