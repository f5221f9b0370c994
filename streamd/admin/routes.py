"""All routes of the daemon, by the access that they need."""

from starlette.routing import Route

from streamd.admin.backing import Backing
from streamd.admin.bounded_reading import BoundedReading
from streamd.admin.configuration_routes import ConfigurationRoutes
from streamd.admin.letters_routes import LettersRoutes
from streamd.admin.live_routes import LiveRoutes
from streamd.admin.open_routes import OpenRoutes
from streamd.admin.page_routes import PageRoutes
from streamd.admin.stored_routes import StoredRoutes
from streamd.admin.tap_routes import TapRoutes
from streamd.admin.view import View
from streamd.admin.watch import Watch


class Routes:
    """The routes that the admin address and the control socket share.

    - `public`: the page itself. Nothing of the daemon is in it.
    - `health`: whether the process lives and data flows.
    - `live`: numbers and names of the configuration.
    - `protected`: data of records, names of senders, and changes.

    `everyone`: every user of this host may ask for `live`.
    """

    def __init__(self, view: View, watch: Watch, backing: Backing, *, everyone: bool) -> None:
        opened = OpenRoutes(view, watch)
        self.public: list[Route] = PageRoutes().routes()
        self.health: list[Route] = opened.health_routes()
        self.live: list[Route] = [
            *opened.metrics_routes(),
            *LiveRoutes(view, watch, everyone=everyone).routes(),
        ]
        reading = BoundedReading()
        self.protected: list[Route] = [
            *TapRoutes(view).routes(),
            *StoredRoutes(backing, reading, BoundedReading()).routes(),
            *LettersRoutes(view, backing, reading).routes(),
            *ConfigurationRoutes(view, backing).routes(),
        ]
