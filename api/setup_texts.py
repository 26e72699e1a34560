"""Every word of a setup sheet, in German and English."""

from typing import Final

from billing.money import Language

TEXTS: Final[dict[Language, dict[str, str]]] = {
    "de": {
        "title": "Ihr Postfach einrichten",
        "intro": "Das Passwort steht aus Sicherheitsgründen nicht auf diesem Blatt. Der Benutzername ist überall die "
        "ganze E-Mail-Adresse.",
        "intro_imitation": "Dieses Postfach liegt in einer Nachbildung zum Ausprobieren: Es gibt keinen Server, "
        "mit dem sich ein Programm verbinden könnte.",
        "address": "E-Mail-Adresse",
        "user_name": "Benutzername",
        "product": "Leistung",
        "password": "Passwort",
        "password_hint": "wie mitgeteilt oder selbst gesetzt",
        "server": "Server",
        "domain": "Domain",
        "empty": "(leer lassen)",
        "outlook": "Outlook (Windows und Mac)",
        "outlook_1": "Datei → Konto hinzufügen wählen und die E-Mail-Adresse eingeben.",
        "outlook_2": "Unter „Erweiterte Optionen“ ankreuzen: „Ich möchte mein Konto manuell einrichten“.",
        "outlook_3": "{kind} wählen, nicht „Microsoft 365“ oder „Exchange“: Dort sucht Outlook bei Microsoft.",
        "outlook_4": "Die folgenden Angaben prüfen und das Passwort eingeben.",
        "phone": "iPhone und iPad",
        "phone_profile": "Den Code mit der Kamera scannen oder {url} in Safari öffnen, dann unter Einstellungen das "
        "geladene Profil installieren. Das Passwort wird dabei abgefragt.",
        "phone_eas_1": "Oder von Hand: Einstellungen → Apps → Mail → Mail-Accounts → Account hinzufügen → "
        "Microsoft Exchange.",
        "phone_eas_2": "E-Mail-Adresse eingeben und „Manuell konfigurieren“ wählen.",
        "phone_mail_1": "Oder von Hand: Einstellungen → Apps → Mail → Mail-Accounts → Account hinzufügen → Andere.",
        "phone_mail_2": "{kind} wählen und die folgenden Angaben eintragen.",
        "phone_scan": "Profil laden",
        "android": "Android",
        "android_eas_1": "Gmail-App → Einstellungen → Konto hinzufügen → „Exchange und Office 365“.",
        "android_eas_2": "E-Mail-Adresse eingeben, „Manuell einrichten“ wählen und den Server eintragen.",
        "android_mail_1": "Gmail-App → Einstellungen → Konto hinzufügen → „Andere“.",
        "android_mail_2": "E-Mail-Adresse eingeben, „Manuell einrichten“ und dann {kind} wählen.",
        "thunderbird": "Thunderbird",
        "thunderbird_1": "Neu → Bestehende E-Mail-Adresse: Name, Adresse und Passwort eingeben.",
        "thunderbird_2": "„Weiter“: Thunderbird findet die Server selbst. Sonst „Manuell einrichten“ mit diesen "
        "Angaben:",
        "dav": "Kalender und Kontakte in anderen Programmen",
        "dav_note": "CalDAV für Kalender und Aufgaben, CardDAV für Kontakte.",
        "web": "Im Browser",
        "incoming": "Posteingang ({kind})",
        "outgoing": "Postausgang (SMTP)",
        "sieve": "Filterregeln (ManageSieve)",
        "endpoint": "{host}, Port {port}, {security}",
        "tls": "SSL/TLS",
        "starttls": "STARTTLS",
        "pop3_note": "POP3 holt nur den Posteingang ab. Ordner und gesendete Nachrichten bleiben auf dem Gerät.",
        "page": "Seite {page} von {pages}",
    },
    "en": {
        "title": "Set up your mailbox",
        "intro": "For safety the password is not on this sheet. The user name is the whole e-mail address everywhere.",
        "intro_imitation": "This mailbox lies in an imitation for trying things out: there is no server that a program "
        "could connect to.",
        "address": "E-mail address",
        "user_name": "User name",
        "product": "Product",
        "password": "Password",
        "password_hint": "as you were told, or have set",
        "server": "Server",
        "domain": "Domain",
        "empty": "(leave empty)",
        "outlook": "Outlook (Windows and Mac)",
        "outlook_1": "Choose File → Add Account and type the e-mail address.",
        "outlook_2": "Under “Advanced options” tick “Let me set up my account manually”.",
        "outlook_3": "Choose {kind}, not “Microsoft 365” or “Exchange”: there Outlook would ask Microsoft.",
        "outlook_4": "Check what follows and type the password.",
        "phone": "iPhone and iPad",
        "phone_profile": "Scan the code with the camera or open {url} in Safari, then install the downloaded profile "
        "in Settings. It asks for the password.",
        "phone_eas_1": "Or by hand: Settings → Apps → Mail → Mail Accounts → Add Account → Microsoft Exchange.",
        "phone_eas_2": "Type the e-mail address and choose “Configure Manually”.",
        "phone_mail_1": "Or by hand: Settings → Apps → Mail → Mail Accounts → Add Account → Other.",
        "phone_mail_2": "Choose {kind} and type what follows.",
        "phone_scan": "Get the profile",
        "android": "Android",
        "android_eas_1": "Gmail app → Settings → Add account → “Exchange and Office 365”.",
        "android_eas_2": "Type the e-mail address, choose “Manual setup” and type the server.",
        "android_mail_1": "Gmail app → Settings → Add account → “Other”.",
        "android_mail_2": "Type the e-mail address, choose “Manual setup” and then {kind}.",
        "thunderbird": "Thunderbird",
        "thunderbird_1": "New → Existing e-mail address: type name, address and password.",
        "thunderbird_2": "“Continue”: Thunderbird finds the servers by itself. Else “Configure manually” with:",
        "dav": "Calendar and contacts in other programs",
        "dav_note": "CalDAV for calendars and tasks, CardDAV for contacts.",
        "web": "In the browser",
        "incoming": "Incoming mail ({kind})",
        "outgoing": "Outgoing mail (SMTP)",
        "sieve": "Filter rules (ManageSieve)",
        "endpoint": "{host}, port {port}, {security}",
        "tls": "SSL/TLS",
        "starttls": "STARTTLS",
        "pop3_note": "POP3 fetches the inbox only. Folders and sent mail stay on the device.",
        "page": "Page {page} of {pages}",
    },
}


def text(name: str, language: Language, **values: object) -> str:
    return TEXTS[language][name].format_map(values)
