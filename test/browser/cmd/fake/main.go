// Command fake runs a made-up node for work on the dashboard:
//
//	go -C test/browser run ./cmd/fake -world degraded
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/test/browser/fake"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9199", "where to listen")
	name := flag.String("world", "healthy", "healthy, degraded, empty or large")
	flag.Parse()
	if err := run(*addr, *name); err != nil {
		fmt.Fprintln(os.Stderr, "fake:", err)
		os.Exit(1)
	}
}

func run(addr, name string) error {
	worlds := map[string]func() *fake.World{"healthy": fake.Healthy, "degraded": fake.Degraded, "empty": fake.Empty, "large": func() *fake.World { return fake.Large(500) }}
	world, ok := worlds[name]
	if !ok {
		return fmt.Errorf("there is no world %q", name)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	node := fake.New(world(), "")
	go live(node)
	fmt.Printf("http://%s/ui/#/login?code=%s   or the token %s\n", listener.Addr(), fake.Code, fake.Token)
	server := &http.Server{Handler: node, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// live lets the last member fail and recover, so that there is something to see.
func live(node *fake.Node) {
	for i := 0; ; i++ {
		time.Sleep(15 * time.Second)
		if i%2 == 0 {
			node.Turn(0, muster.StateSuspect, "no answer to 3 probes")
		} else {
			node.Turn(0, muster.StateAlive, "answers again")
		}
	}
}
