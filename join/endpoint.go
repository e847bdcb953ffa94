package join

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/musterhq/muster"
)

// maxEndpoint is the longest endpoint URL that members tell each other, in bytes.
const maxEndpoint = 256

// Outbound in place of an endpoint says that nobody can call this node.
const Outbound = "none"

// CleanEndpoint brings the URL of a management port into the one form under
// which endpoints are compared: scheme and host in lower case, the port always
// there, no trailing slash. HOST and HOST:PORT are taken as http.
func CleanEndpoint(raw string) (string, error) {
	text := strings.TrimSpace(raw)
	bare := !strings.Contains(text, "://")
	if bare {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "% ") {
		return "", fmt.Errorf("endpoint %q: want a URL such as http://host:%d", muster.Printable(raw), muster.DefaultPort)
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("endpoint %q: the scheme must be http or https", muster.Printable(raw))
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("endpoint %q: only scheme, host, port and path may be given", muster.Printable(raw))
	}
	port := u.Port()
	switch {
	case port != "":
	case bare:
		port = strconv.Itoa(muster.DefaultPort)
	case scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("endpoint %q: the port must be 1 to 65535", muster.Printable(raw))
	}
	clean := scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port) + strings.TrimRight(u.EscapedPath(), "/")
	if len(clean) > maxEndpoint {
		return "", fmt.Errorf("endpoint of %d bytes, at most %d", len(clean), maxEndpoint)
	}
	return clean, nil
}

// reachable reports whether an advertised endpoint is one.
func reachable(endpoint string) bool { return endpoint != "" && endpoint != Outbound }
