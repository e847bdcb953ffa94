package join

import (
	"context"
	"crypto/ed25519"
	"net/http"

	"github.com/musterhq/muster"
)

// Self is this node's identity.
type Self struct {
	ID   muster.NodeID
	Key  ed25519.PrivateKey
	Boot muster.Boot
	Name string
}

// Channel is the purpose of a connection between nodes.
type Channel string

// The channels.
const (
	ChannelPacket Channel = "packet"
	ChannelStream Channel = "stream"
	ChannelRPC    Channel = "rpc"
)

// Hello is what a peer has proved and said of itself.
type Hello struct {
	ID           muster.NodeID
	PublicKey    ed25519.PublicKey
	Boot         muster.Boot
	Name         string
	Endpoint     string
	Cluster      muster.ClusterID
	Versions     [2]uint8
	Capabilities []string
	Formation    string
	Expect       int
	Role         muster.Role
}

// Facts is what this node says of itself in its HELLO.
type Facts struct {
	Endpoint  string
	Cluster   muster.ClusterID
	Formation string
	Expect    int
	Role      muster.Role
}

// Meeting is one connection with whoever answered at an endpoint.
type Meeting interface {
	Peer() Hello
	RoundTrip(*http.Request) (*http.Response, error)
	Close() error
}

// Meet dials an endpoint. An empty target accepts whoever answers.
type Meet func(ctx context.Context, endpoint string, target muster.NodeID) (Meeting, error)
