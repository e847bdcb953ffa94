// Command muster runs a node of a muster cluster and talks to running ones.
//
// Results go to standard output, progress and errors to standard error. The exit
// code says how it went: 0 yes or done, 1 unexpected, 2 usage, 3 no or not yet,
// 4 not allowed, 5 not found, 6 conflict, 7 unreachable, 8 timeout, 9 partial.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := process{env: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	if len(os.Args) > 1 && os.Args[1] == "serve" { // other commands end at SIGHUP, as others do
		hangups := make(chan os.Signal, 1) // one: a second signal before the first is served means the same
		signal.Notify(hangups, syscall.SIGHUP)
		p.hangups = hangups
	}
	code := newApp(p).run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
