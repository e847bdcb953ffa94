package gossip_test

import (
	"fmt"
	"io"
	"log"

	"github.com/hashicorp/memberlist"

	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/gossip"
	"github.com/musterhq/muster/link"
)

// Two members of a plain memberlist find each other over sealed links.
func ExampleListenTransport() {
	cookie, err := auth.ParseCookie([]byte(auth.NewCookie().Reveal()))
	if err != nil {
		log.Fatal(err)
	}
	keys := []link.Key{{ID: cookie.KID(), PSK: cookie.LinkPSK()}}

	start := func(name string) (*memberlist.Memberlist, *gossip.AddressTransport) {
		transport, err := gossip.ListenTransport(gossip.TransportConfig{Listen: "127.0.0.1:0", Keys: keys})
		if err != nil {
			log.Fatal(err)
		}
		cfg := memberlist.DefaultLANConfig()
		cfg.Name, cfg.Transport = name, transport
		cfg.LogOutput = io.Discard
		list, err := memberlist.Create(cfg)
		if err != nil {
			log.Fatal(err)
		}
		return list, transport
	}
	first, _ := start("first")
	second, transport := start("second")
	defer first.Shutdown()
	defer second.Shutdown()

	// host:port, or any endpoint URL through transport.Join
	seed := "http://" + first.LocalNode().Address()
	if _, err := second.Join([]string{transport.Join(seed)}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.NumMembers(), second.NumMembers())
	// Output: 2 2
}
