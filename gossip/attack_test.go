package gossip_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/gossip"
)

// exchangeHead is the begin of an exchange of state that claims so many records.
func exchangeHead(nodes, digest uint32) string {
	b := []byte("\x06\x83\xa5Nodes\xce")
	b = binary.BigEndian.AppendUint32(b, nodes)
	b = append(b, "\xacUserStateLen\xce"...)
	b = binary.BigEndian.AppendUint32(b, digest)
	return string(append(b, "\xa4Join\xc2"...))
}

// hostile are messages with which a member might take memory or time.
func hostile() map[string]string {
	return map[string]string{
		"a name of 4 GiB":          exchangeHead(1, 0) + "\x87\xa4Name\xdb\xff\xff\xff\xff",
		"an address of 4 GiB":      exchangeHead(1, 0) + "\x87\xa4Addr\xc6\xff\xff\xff\xff",
		"a list of 4 G elements":   exchangeHead(1, 0) + "\x87\xa4Addr\xdd\xff\xff\xff\xff",
		"a map of 4 G elements":    exchangeHead(1, 0) + "\xdf\xff\xff\xff\xff",
		"a key of 4 GiB":           "\x06\x83\xdb\xff\xff\xff\xff",
		"a million records":        exchangeHead(1<<20, 0),
		"a digest of 20 MiB":       exchangeHead(0, 20<<20),
		"a negative number":        "\x06\x81\xa5Nodes\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
		"an endless nesting":       "\x06\x81\xa5Nodes\x01" + strings.Repeat("\x91", 100),
		"a header that is no map":  "\x06\x01",
		"a number that is a text":  "\x06\x81\xa5Nodes\xa1x",
		"an extension":             exchangeHead(1, 0) + "\xc9\xff\xff\xff\xff\x01",
		"a packed message":         "\x09\x82\xa4Algo\x00\xa3Buf\xc6\xff\xff\xff\xff",
		"an encrypted message":     "\x0a\x00\xff\xff\xff\xff",
		"a message of a user":      "\x08\x81\xaaUserMsgLen\xce\x01\x40\x00\x00",
		"a label":                  "\xf4\x05hello\x06",
		"a packet that is a ping":  "\x01",
		"a ping with a huge text":  "\x00\x81\xa4Node\xdb\xff\xff\xff\xff",
		"an error with a huge one": "\x0d\x81\xa5Error\xdb\xff\xff\xff\xff",
	}
}

// TestALyingStreamTakesNoMemory: what a message claims to hold is not what memory is
// taken for, and memberlist never sees it.
func TestALyingStreamTakesNoMemory(t *testing.T) { //nolint:paralleltest // counts memory
	inbox := gossip.NewInbox()
	transport := gossip.NewTransport("self", deaf{}, inbox)
	defer func() { _ = transport.Shutdown() }()
	for name, text := range hostile() {
		ours, theirs := net.Pipe()
		inbox.Stream("peer", theirs)
		stream := <-transport.StreamCh()
		go func() { _, _ = io.WriteString(ours, text) }()
		_, before := inbox.Dropped()
		var start, end runtime.MemStats
		runtime.ReadMemStats(&start)
		n, err := stream.Read(make([]byte, 4096))
		runtime.ReadMemStats(&end)
		if n != 0 || err == nil {
			t.Errorf("%s: memberlist was given %d bytes", name, n)
		}
		if took := end.TotalAlloc - start.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: took %d bytes of memory", name, took)
		}
		if _, after := inbox.Dropped(); after != before+1 {
			t.Errorf("%s: not counted as dropped", name)
		}
		_ = stream.Close()
		_ = ours.Close()
	}
}

// TestASlowStreamHoldsWhatArrived: a message that never ends is cut by memberlist's own
// deadline, and until then holds what was sent.
func TestASlowStreamHoldsWhatArrived(t *testing.T) {
	t.Parallel()
	inbox := gossip.NewInbox()
	transport := gossip.NewTransport("self", deaf{}, inbox)
	defer func() { _ = transport.Shutdown() }()
	ours, theirs := net.Pipe()
	inbox.Stream("peer", theirs)
	stream := <-transport.StreamCh()
	go func() { _, _ = io.WriteString(ours, exchangeHead(60_000, 60_000)) }()
	_ = stream.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := stream.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes of a message that is not there yet", n)
	}
}

func TestAWholeExchangePasses(t *testing.T) {
	t.Parallel()
	record := "\x87\xa4Name\xa1n\xa4Addr\xb0" + strings.Repeat("a", 16) + "\xa4Port\x01\xa4Meta\xda\x01\x00" + strings.Repeat("m", 256) +
		"\xabIncarnation\xce\x00\x00\x00\x05\xa5State\x00\xa3Vsn\x96\x01\x05\x02\x00\x00\x00"
	message := exchangeHead(3, 5) + record + record + record + "hello"
	got, err := gossip.Screen(strings.NewReader(message + "what follows is not read"))
	if err != nil || string(got) != message {
		t.Errorf("%d bytes of %d, %v", len(got), len(message), err)
	}
}

func TestPackedPacketsAreDropped(t *testing.T) {
	t.Parallel()
	crc := "\x0cABCD"
	for name, c := range map[string]struct {
		packet string
		plain  bool
	}{
		"a ping":                      {"\x00\x80", true},
		"a ping with a checksum":      {crc + "\x00\x80", true},
		"two parts":                   {"\x07\x02\x00\x02\x00\x02\x04\x80\x05\x80", true},
		"a part cut off":              {"\x07\x01\x00\x09\x04", true},
		"packed":                      {"\x09\x80", false},
		"packed, with a checksum":     {crc + "\x09\x80", false},
		"packed inside":               {"\x07\x02\x00\x02\x00\x02\x04\x80\x09\x80", false},
		"a compound inside":           {"\x07\x01\x00\x04\x07\x01\x00\x00", false},
		"encrypted":                   {"\x0a\x80", false},
		"labelled":                    {"\xf4\x01x\x00", false},
		"of a user":                   {"\x08x", false},
		"nothing":                     {"", false},
		"a compound without a length": {"\x07", false},
		"a compound without parts":    {"\x07\x05\x00\x01", false},
	} {
		if got := gossip.PlainPacket([]byte(c.packet)); got != c.plain {
			t.Errorf("%s: %v, want %v", name, got, c.plain)
		}
		inbox := gossip.NewInbox()
		transport := gossip.NewTransport("self", deaf{}, inbox)
		inbox.Packet("peer", []byte(c.packet))
		if got := len(transport.PacketCh()) == 1; got != c.plain {
			t.Errorf("%s: reached memberlist: %v, want %v", name, got, c.plain)
		}
		_ = transport.Shutdown()
	}
}

func FuzzScreen(f *testing.F) {
	for _, text := range hostile() {
		f.Add([]byte(text))
	}
	f.Add([]byte(exchangeHead(1, 2) + "\x82\xa4Name\xa1n\xa4Meta\xc0ab"))
	f.Add([]byte("\x02\x82\xa5SeqNo\x01\xa7Payload\xc0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := gossip.Screen(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, got) {
			t.Errorf("%x became %x", b, got)
		}
		gossip.PlainPacket(b)
	})
}
