"""acme2certifier behind TLS: serve.py ADDRESS PORT CERTIFICATE KEY. Its configuration is at $ACME_SRV_CONFIGFILE."""

import ssl
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from acme2certifier.share.acme2certifier_wsgi import application


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def setup_environ(self):
        super().setup_environ()
        self.base_environ["HTTPS"] = "on"


address, port, certificate, key = sys.argv[1:]
server = make_server(address, int(port), application, Server, WSGIRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
# The handshake is the thread's matter, not the listener's.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
